package order

import (
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
)

// Status of an order. Pending is the only one that changes.
type Status string

// The statuses.
const (
	Pending   Status = "pending"
	Confirmed Status = "confirmed"
	Cancelled Status = "cancelled"
)

// Order is what was heard of an order and what was decided. The facts only ever
// add up, in whatever order they come; a decision is made once, on the first
// facts that allow it, and holds against all later ones.
//
// The JSON names are those of the columns.
type Order struct {
	aggregate.Row

	Status     Status         `json:"status"`
	Reason     *events.Reason `json:"reason,omitempty"`
	CustomerID *string        `json:"customer_id,omitempty"`
	Lines      []events.Line  `json:"lines"`
	events.Extras
	// Amount is the sum of lines and extras.
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	// TraceParent is that of the order's creation.
	TraceParent string `json:"traceparent"`

	PlacedAt            *time.Time `json:"placed_at,omitempty"`
	ReservedAt          *time.Time `json:"reserved_at,omitempty"`
	ReservationFailedAt *time.Time `json:"reservation_failed_at,omitempty"`
	ExpiredAt           *time.Time `json:"expired_at,omitempty"`
	ReleasedAt          *time.Time `json:"released_at,omitempty"`
	PaidAt              *time.Time `json:"paid_at,omitempty"`
	PaymentFailedAt     *time.Time `json:"payment_failed_at,omitempty"`
	RefundedAt          *time.Time `json:"refunded_at,omitempty"`
	CancelAskedAt       *time.Time `json:"cancel_asked_at,omitempty"`
	SettledAt           *time.Time `json:"settled_at,omitempty"`
}

// NewOrder returns an order of which nothing is known yet.
func NewOrder(id uuid.UUID) *Order {
	return &Order{Row: aggregate.Row{ID: id}, Status: Pending}
}

// Hear notes an event that happened at a time.
func (o *Order) Hear(e events.Event, at time.Time) {
	switch e := e.(type) {
	case *checkout.OrderCreated, *checkout.OrderCreatedV2:
		o.place(checkout.Created(e), at)
	case *inventory.Reserved:
		note(&o.ReservedAt, at)
	case *inventory.ReservationFailed:
		note(&o.ReservationFailedAt, at)
		o.object(e.Reason)
	case *inventory.ReservationExpired:
		note(&o.ExpiredAt, at)
		o.object(events.Reason{Code: events.ReasonReservationExpired, Message: "The order was not paid in time."})
	case *inventory.Released:
		note(&o.ReleasedAt, at)
	case *payment.Completed:
		note(&o.PaidAt, at)
	case *payment.Failed:
		note(&o.PaymentFailedAt, at)
		o.object(e.Reason)
	case *payment.Refunded:
		note(&o.RefundedAt, at)
	}
}

func (o *Order) place(e *checkout.OrderCreatedV2, at time.Time) {
	note(&o.PlacedAt, at)
	o.CustomerID, o.Lines, o.Extras = &e.CustomerID, e.Lines, e.Extras
	o.Amount, o.Currency = e.Total.Amount, e.Total.Currency
}

// note keeps the first time a fact was heard of.
func note(fact **time.Time, at time.Time) {
	if *fact == nil {
		*fact = &at
	}
}

// object notes why the order cannot go through, unless it is decided already.
func (o *Order) object(r events.Reason) {
	if o.Status == Pending && o.Reason == nil {
		o.Reason = &r
	}
}

// AskCancel notes a customer's wish to cancel. A confirmed order is being
// shipped and cannot be cancelled; asking again of a cancelled one is harmless.
func (o *Order) AskCancel(at time.Time) error {
	switch o.Status {
	case Confirmed:
		return fault.New(fault.Conflict, "order_confirmed", "The order is confirmed and on its way; it can no longer be cancelled.")
	case Cancelled:
		return nil
	case Pending:
	}
	note(&o.CancelAskedAt, at)
	o.object(events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."})
	return nil
}

// Decide settles the order if the facts allow it, and returns what must be
// announced, or nil. It waits for the order's creation, so that the
// announcement is whole. Any reason against weighs more than stock and payment:
// a refund makes good what a wrong confirmation could not.
func (o *Order) Decide(now time.Time) events.Event {
	if o.Status != Pending || o.PlacedAt == nil {
		return nil
	}
	subject := events.OfOrder{OrderID: o.ID}
	switch {
	case o.Reason != nil:
		o.Status, o.SettledAt = Cancelled, &now
		return &order.Cancelled{OfOrder: subject, CustomerID: *o.CustomerID, Reason: *o.Reason}
	case o.ReservedAt != nil && o.PaidAt != nil:
		o.Status, o.SettledAt = Confirmed, &now
		return &order.Confirmed{
			OfOrder: subject, CustomerID: *o.CustomerID,
			Total: events.Money{Amount: o.Amount, Currency: o.Currency},
		}
	default:
		return nil
	}
}

// WaitsFor names what an unsettled order waits for, or "".
func (o *Order) WaitsFor() string {
	switch {
	case o.Status != Pending:
		return ""
	case o.PlacedAt == nil:
		return "checkout"
	case o.ReservedAt == nil:
		return "inventory"
	default:
		return "payment"
	}
}
