package main

import (
	"fmt"
	"net/http"

	"quadrille.internal/local/psp/ledger"
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
		return badRequest("parameter_missing", "amount", "Missing required parameter.")
	}
	if err := checkAmount(*p.Amount); err != nil {
		return err
	}
	if !isCurrency(p.Currency) {
		return badRequest("parameter_invalid", "currency", "Must be a three-letter ISO 4217 code in capitals.")
	}
	if _, ok := tokens[p.Source]; !ok {
		return badRequest("resource_missing", "source", "No such token.")
	}
	return checkMetadata(p.Metadata)
}

func checkAmount(amount int64) error {
	if amount < 1 || amount > maxAmount {
		return badRequest("parameter_invalid_integer", "amount", fmt.Sprintf("Must be between 1 and %d minor units.", maxAmount))
	}
	return nil
}

func isCurrency(code string) bool {
	for _, c := range code {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(code) == 3
}

func checkMetadata(metadata map[string]string) error {
	if len(metadata) > maxMetadata {
		return badRequest("parameter_invalid", "metadata", fmt.Sprintf("At most %d entries.", maxMetadata))
	}
	for name, value := range metadata {
		if name == "" || len(name) > maxMetadataName || len(value) > maxMetadataValue {
			return badRequest("parameter_invalid", "metadata",
				fmt.Sprintf("Names have 1 to %d bytes, values at most %d.", maxMetadataName, maxMetadataValue))
		}
	}
	return nil
}

func (s *server) createCharge(w http.ResponseWriter, r *http.Request) error {
	var p chargeParams
	if err := decode(w, r, &p, "amount", "currency", "source", "metadata"); err != nil {
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
		s.wait()
	}
	outcome, err := settleCharge(claim, token, p)
	if err != nil {
		return err
	}
	if token.losesChargeReply {
		cut()
	}
	return writeOutcome(w, outcome)
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
		return &apiError{
			status: http.StatusNotFound, Type: typeInvalidRequest, Code: "resource_missing", Param: "id",
			Message: "No such charge.",
		}
	}
	return writeJSON(w, http.StatusOK, charge)
}

func (s *server) listCharges(w http.ResponseWriter, r *http.Request) error {
	return list(w, r, s.ledger.Charges)
}

func (s *server) showSummary(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.ledger.Summary())
}
