package main

import (
	"fmt"
	"net/http"

	"quadrille.internal/local/standin"
)

const maxReason = 255

type refundParams struct {
	Charge string `json:"charge"`
	Amount *int64 `json:"amount"` // nil = what is left of the charge
	Reason string `json:"reason"`
}

func (p refundParams) check() error {
	if p.Charge == "" {
		return standin.BadRequest("parameter_missing", "charge", "Missing required parameter.")
	}
	if len(p.Reason) > maxReason {
		return standin.BadRequest("parameter_invalid", "reason", fmt.Sprintf("At most %d bytes.", maxReason))
	}
	if p.Amount == nil {
		return nil
	}
	return checkAmount(*p.Amount)
}

func (s *server) createRefund(w http.ResponseWriter, r *http.Request) error {
	var p refundParams
	if err := standin.Decode(w, r, &p, "charge", "amount", "reason"); err != nil {
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

	var amount int64
	if p.Amount != nil {
		amount = *p.Amount
	}
	outcome, err := claim.Refund(p.Charge, amount, p.Reason)
	if err != nil {
		return fromLedger(err)
	}
	if charge, _ := s.ledger.Charge(p.Charge); tokens[charge.Source].losesRefundReply {
		standin.Cut()
	}
	return writeOutcome(w, outcome)
}

func (s *server) listRefunds(w http.ResponseWriter, r *http.Request) error {
	return standin.List(w, r, "order_id", s.ledger.Refunds)
}
