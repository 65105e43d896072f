// Package checkout holds the events that checkout publishes.
package checkout

import (
	"errors"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeOrderCreated = "checkout.order.created"
)

// OrderCreated: a customer's checkout was accepted.
type OrderCreated struct {
	events.OfOrder
	CustomerID string        `json:"customer_id"`
	Lines      []events.Line `json:"lines"`
	// Total is the sum of the lines.
	Total events.Money `json:"total"`
	// PaymentToken names the means of payment at the provider. It is opaque
	// and of no use without the provider's key.
	PaymentToken string `json:"payment_token"`
}

// Type is checkout.order.created.
func (OrderCreated) Type() string { return TypeOrderCreated }

// Validate checks customer, lines, total and token.
func (e OrderCreated) Validate() error {
	if err := errors.Join(e.OfOrder.Validate(), e.Total.Validate()); err != nil {
		return err
	}
	if e.CustomerID == "" || e.PaymentToken == "" {
		return errors.New("customer_id and payment_token are required")
	}
	return events.ValidateLines(e.Lines, e.Total)
}
