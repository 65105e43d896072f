// Package payment holds the events that payment publishes.
package payment

import (
	"errors"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeCompleted = "payment.completed"
	TypeFailed    = "payment.failed"
	TypeRefunded  = "payment.refunded"
)

// Completed: the customer is charged.
type Completed struct {
	events.OfOrder
	ChargeID string       `json:"charge_id"`
	Amount   events.Money `json:"amount"`
}

// Failed: the customer is not charged and never will be for this order.
type Failed struct {
	events.OfOrder
	Reason events.Reason `json:"reason"`
}

// Refunded: a charge of a cancelled order went back.
type Refunded struct {
	events.OfOrder
	RefundID string       `json:"refund_id"`
	Amount   events.Money `json:"amount"`
}

// Type is payment.completed.
func (Completed) Type() string { return TypeCompleted }

// Type is payment.failed.
func (Failed) Type() string { return TypeFailed }

// Type is payment.refunded.
func (Refunded) Type() string { return TypeRefunded }

// Validate checks charge and amount.
func (e Completed) Validate() error {
	if e.ChargeID == "" {
		return errors.New("charge_id is required")
	}
	return errors.Join(e.OfOrder.Validate(), e.Amount.Validate())
}

// Validate checks the reason.
func (e Failed) Validate() error {
	return errors.Join(e.OfOrder.Validate(), e.Reason.Validate())
}

// Validate checks refund and amount.
func (e Refunded) Validate() error {
	if e.RefundID == "" {
		return errors.New("refund_id is required")
	}
	return errors.Join(e.OfOrder.Validate(), e.Amount.Validate())
}
