package order

import (
	"cmp"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/payment"
)

// A story is what happens around one order. The events may reach the order
// service in any sequence.
type story struct {
	name string
	// types of the events, in the sequence they happened.
	types []string
	// outcomes that are right: "confirmed" or a reason code. More than one where
	// events race one another.
	outcomes []string
}

const (
	confirmed = "confirmed"
	// customerAsks stands among a story's events for a request to cancel.
	customerAsks = "customer asks to cancel"
)

var stories = []story{
	{"paid", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeCompleted,
	}, []string{confirmed}},
	{"out of stock", []string{
		checkout.TypeOrderCreated, inventory.TypeReservationFailed,
	}, []string{events.ReasonOutOfStock}},
	{"declined", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeFailed, inventory.TypeReleased,
	}, []string{events.ReasonPaymentDeclined}},
	{"expired before it is paid", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationExpired, inventory.TypeReleased,
	}, []string{events.ReasonReservationExpired}},
	{"expired while it is paid", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationExpired, payment.TypeCompleted,
	}, []string{confirmed, events.ReasonReservationExpired}},
	{"expired, then paid and refunded", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationExpired,
		payment.TypeCompleted, inventory.TypeReleased, payment.TypeRefunded,
	}, []string{confirmed, events.ReasonReservationExpired}},
	{"expired while it is declined", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationExpired,
		payment.TypeFailed, inventory.TypeReleased,
	}, []string{events.ReasonReservationExpired, events.ReasonPaymentDeclined}},
	{"cancelled by the customer before it is paid", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, customerAsks, inventory.TypeReleased,
	}, []string{events.ReasonCustomerRequest}},
	{"cancelled by the customer while it is paid", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeCompleted, customerAsks,
	}, []string{confirmed, events.ReasonCustomerRequest}},
	{"cancelled by the customer, then paid and refunded", []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, customerAsks,
		payment.TypeCompleted, inventory.TypeReleased, payment.TypeRefunded,
	}, []string{confirmed, events.ReasonCustomerRequest}},
	{"cancelled by the customer while it is out of stock", []string{
		checkout.TypeOrderCreated, inventory.TypeReservationFailed, customerAsks,
	}, []string{events.ReasonOutOfStock, events.ReasonCustomerRequest}},
}

var (
	epoch = time.Date(2024, 6, 14, 9, 30, 0, 0, time.UTC)
	total = events.Money{Amount: 1530, Currency: "GBP"}
)

// sample returns an order's event of a type.
func sample(eventType string, id uuid.UUID) events.Event {
	subject := events.OfOrder{OrderID: id}
	allocations := []events.Allocation{{SKU: "85123A", Warehouse: "leeds", Quantity: 6}}
	switch eventType {
	case checkout.TypeOrderCreated:
		return &checkout.OrderCreated{
			OfOrder: subject, CustomerID: "17850", Total: total, PaymentToken: "tok_success",
			Lines: []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}},
		}
	case inventory.TypeReserved:
		return &inventory.Reserved{
			OfOrder: subject, Allocations: allocations, Total: total, PaymentToken: "tok_success", ExpiresAt: epoch,
		}
	case inventory.TypeReservationFailed:
		return &inventory.ReservationFailed{OfOrder: subject,
			Reason: events.Reason{Code: events.ReasonOutOfStock, Message: "85123A is out of stock."}}
	case inventory.TypeReservationExpired:
		return &inventory.ReservationExpired{OfOrder: subject, ExpiredAt: epoch}
	case inventory.TypeReleased:
		return &inventory.Released{OfOrder: subject, Allocations: allocations}
	case payment.TypeCompleted:
		return &payment.Completed{OfOrder: subject, ChargeID: "ch_1", Amount: total}
	case payment.TypeFailed:
		return &payment.Failed{OfOrder: subject,
			Reason: events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
	case payment.TypeRefunded:
		return &payment.Refunded{OfOrder: subject, RefundID: "re_1", Amount: total}
	default:
		return nil
	}
}

// happenedAt is when the nth event of a story happened.
func happenedAt(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// outcomeOf names how an order stands: its reason, if there is one, or status.
func outcomeOf(o *Order) string {
	if o.Status == Cancelled {
		return cmp.Or(o.Reason.Code, "cancelled without a reason")
	}
	return string(o.Status)
}
