package checkout

import (
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
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
	TraceParent    string           `json:"traceparent"`
	Status         Status           `json:"status"`
	Reason         *events.Reason   `json:"reason,omitempty"`
	PlacedAt       time.Time        `json:"placed_at"`
	SettledAt      *time.Time       `json:"settled_at,omitempty"`
}

// Created announces the checkout. The payment token is handed on and not kept.
func (c *Checkout) Created(paymentToken string) *checkout.OrderCreated {
	return &checkout.OrderCreated{
		OfOrder: events.OfOrder{OrderID: c.ID}, CustomerID: c.CustomerID, Lines: c.Lines,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency}, PaymentToken: paymentToken,
	}
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
