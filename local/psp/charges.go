package main

import (
	"fmt"
	"net/http"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
)

// maxAmount keeps the sum of nine million charges within an int64.
const maxAmount = 999_999_999_999

// Limits of metadata, the provider's own.
const (
	maxMetadata      = 50
	maxMetadataName  = 40
	maxMetadataValue = 500
)

type chargeParams struct {
	Amount   *int64            `json:"amount"`
	Currency string            `json:"currency"`
	Source   string            `json:"source"`
	Metadata map[string]string `json:"metadata"`
}

func (p chargeParams) check() error {
	if p.Amount == nil {
		return standin.BadRequest("parameter_missing", "amount", "Missing required parameter.")
	}
	if err := checkAmount(*p.Amount); err != nil {
		return err
	}
	if !standin.IsCurrency(p.Currency) {
		return standin.BadRequest("parameter_invalid", "currency", "Must be a three-letter ISO 4217 code in capitals.")
	}
	if !currencies[p.Currency] {
		return standin.BadRequest("currency_unsupported", "currency", "Your account cannot be paid in this currency.")
	}
	if _, ok := tokens[p.Source]; !ok {
		return standin.BadRequest("resource_missing", "source", "No such token.")
	}
	return checkMetadata(p.Metadata)
}

func checkAmount(amount int64) error {
	switch {
	case amount < 1:
		return standin.BadRequest("amount_too_small", "amount", "Must be at least 1 minor unit.")
	case amount > maxAmount:
		return standin.BadRequest("amount_too_large", "amount", fmt.Sprintf("Must be at most %d minor units.", maxAmount))
	}
	return nil
}

func checkMetadata(metadata map[string]string) error {
	if len(metadata) > maxMetadata {
		return standin.BadRequest("parameter_invalid", "metadata", fmt.Sprintf("At most %d entries.", maxMetadata))
	}
	for name, value := range metadata {
		if name == "" || len(name) > maxMetadataName || len(value) > maxMetadataValue {
			return standin.BadRequest("parameter_invalid", "metadata",
				fmt.Sprintf("Names have 1 to %d bytes, values at most %d.", maxMetadataName, maxMetadataValue))
		}
	}
	return nil
}

func (s *server) createCharge(w http.ResponseWriter, r *http.Request) error {
	var p chargeParams
	if err := standin.Decode(w, r, &p, "amount", "currency", "source", "metadata"); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	claim, err := s.claim(w, r, p)
	if err != nil || claim == nil {
		return err
	}
	defer claim.Release()

	token := tokens[p.Source]
	if err := s.refusals.next(r.Header.Get(idempotencyHeader), token); err != nil {
		return err
	}
	if token.slow {
		s.Log.InfoContext(r.Context(), "charge waits", "order_id", p.Metadata["order_id"])
		s.Wait()
	}
	outcome, err := settleCharge(claim, token, p)
	if err != nil {
		return err
	}
	if token.losesChargeReply {
		standin.Cut()
	}
	return writeOutcome(w, outcome)
}

type cancelParams struct {
	Key string `json:"idempotency_key"`
}

// cancelCharge sees to it that a charge whose fate the caller does not know is not
// made later. What was made or declined before is answered as it was.
func (s *server) cancelCharge(w http.ResponseWriter, r *http.Request) error {
	var p cancelParams
	if err := standin.Decode(w, r, &p, "idempotency_key"); err != nil {
		return err
	}
	if err := checkKey(p.Key, "idempotency_key"); err != nil {
		return err
	}
	outcome, err := s.ledger.Cancel(p.Key)
	switch {
	case err != nil:
		return fromLedger(err)
	case outcome.Cancellation != nil:
		return standin.WriteJSON(w, http.StatusOK, outcome.Cancellation)
	default:
		return writeOutcome(w, outcome)
	}
}

func settleCharge(claim *ledger.Claim, token token, p chargeParams) (*ledger.Outcome, error) {
	if token.decline != nil {
		return claim.Decline(*token.decline)
	}
	return claim.Charge(*p.Amount, p.Currency, p.Source, p.Metadata)
}

func (s *server) showCharge(w http.ResponseWriter, r *http.Request) error {
	charge, ok := s.ledger.Charge(r.PathValue("id"))
	if !ok {
		return &standin.Error{
			Status: http.StatusNotFound, Type: standin.TypeInvalidRequest, Code: "resource_missing", Param: "id",
			Message: "No such charge.",
		}
	}
	return standin.WriteJSON(w, http.StatusOK, charge)
}

func (s *server) listCharges(w http.ResponseWriter, r *http.Request) error {
	return standin.List(w, r, "order_id", s.ledger.Charges)
}

func (s *server) showSummary(w http.ResponseWriter, _ *http.Request) error {
	return standin.WriteJSON(w, http.StatusOK, s.ledger.Summary())
}
