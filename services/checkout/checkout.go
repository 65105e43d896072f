package checkout

import (
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/idempotency"
)

// Status of a checkout.
type Status string

// The statuses. Placed turns into one of the others.
const (
	Placed    Status = "placed"
	Confirmed Status = "confirmed"
	Cancelled Status = "cancelled"
)

// Checkout is a customer's order as it was placed, and how it ended. The JSON
// names are the columns.
type Checkout struct {
	aggregate.Row

	IdempotencyKey string           `json:"idempotency_key"`
	RequestHash    idempotency.Hash `json:"request_hash"`
	CustomerID     string           `json:"customer_id"`
	Lines          []events.Line    `json:"lines"`
	Amount         int64            `json:"amount"`
	Currency       string           `json:"currency"`
	// Quote is what price committed to for the order, and nil where its caller named the
	// prices. Its id is the order's.
	Quote *price.Quote `json:"quote,omitempty"`
	// AddressID is where the order goes, if that was said.
	AddressID   *uuid.UUID     `json:"address_id,omitempty"`
	TraceParent string         `json:"traceparent"`
	Status      Status         `json:"status"`
	Reason      *events.Reason `json:"reason,omitempty"`
	PlacedAt    time.Time      `json:"placed_at"`
	SettledAt   *time.Time     `json:"settled_at,omitempty"`
}

// Created announces the checkout: in the second version of the event where there is a
// quote, which the first cannot tell. The payment token is handed on and not kept.
func (c *Checkout) Created(paymentToken string) events.Event {
	order, total := events.OfOrder{OrderID: c.ID}, events.Money{Amount: c.Amount, Currency: c.Currency}
	if c.Quote == nil {
		return &checkout.OrderCreated{
			OfOrder: order, CustomerID: c.CustomerID, Lines: c.Lines, Total: total, PaymentToken: paymentToken,
		}
	}
	e := &checkout.OrderCreatedV2{
		OfOrder: order, CustomerID: c.CustomerID, Lines: c.Lines, Extras: extrasOf(c.Quote), Total: total,
		PaymentToken: paymentToken, QuoteID: c.Quote.ID, CartID: c.Quote.CartID,
	}
	if c.AddressID != nil {
		e.AddressID = *c.AddressID
	}
	return e
}

// Hear notes how the order ended. A shortage or a declined payment tells the
// customer at once; the cancellation that follows is what counts, since its
// reason is the one the order was in fact cancelled for.
func (c *Checkout) Hear(e events.Event, at time.Time) {
	switch e := e.(type) {
	case *inventory.ReservationFailed:
		c.refuse(e.Reason, at)
	case *payment.Failed:
		c.refuse(e.Reason, at)
	case *order.Confirmed:
		c.Status, c.Reason, c.SettledAt = Confirmed, nil, &at
	case *order.Cancelled:
		c.Status, c.Reason, c.SettledAt = Cancelled, &e.Reason, &at
	}
}

// refuse settles a checkout whose order cannot but be cancelled.
func (c *Checkout) refuse(r events.Reason, at time.Time) {
	if c.Status == Placed {
		c.Status, c.Reason, c.SettledAt = Cancelled, &r, &at
	}
}
