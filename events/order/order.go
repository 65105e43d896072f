// Package order holds the events that order publishes.
package order

import (
	"errors"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeConfirmed = "order.confirmed"
	TypeCancelled = "order.cancelled"
)

// Confirmed: stock is held and paid for; inventory ships.
// Final: an order is confirmed or cancelled, never both.
type Confirmed struct {
	events.OfOrder
	CustomerID string       `json:"customer_id"`
	Total      events.Money `json:"total"`
}

// Cancelled: the order will not ship; what is held is released, what is
// charged is refunded. Final.
type Cancelled struct {
	events.OfOrder
	CustomerID string        `json:"customer_id"`
	Reason     events.Reason `json:"reason"`
}

// Type is order.confirmed.
func (Confirmed) Type() string { return TypeConfirmed }

// Type is order.cancelled.
func (Cancelled) Type() string { return TypeCancelled }

// Validate checks the total.
func (e Confirmed) Validate() error {
	return errors.Join(e.OfOrder.Validate(), e.Total.Validate())
}

// Validate checks the reason.
func (e Cancelled) Validate() error {
	return errors.Join(e.OfOrder.Validate(), e.Reason.Validate())
}
