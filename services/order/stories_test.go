package main

import (
	"cmp"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
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
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypePaymentCompleted,
	}, []string{confirmed}},
	{"out of stock", []string{
		events.TypeOrderCreated, events.TypeReservationFailed,
	}, []string{events.ReasonOutOfStock}},
	{"declined", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypePaymentFailed, events.TypeInventoryReleased,
	}, []string{events.ReasonPaymentDeclined}},
	{"expired before it is paid", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypeReservationExpired, events.TypeInventoryReleased,
	}, []string{events.ReasonReservationExpired}},
	{"expired while it is paid", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypeReservationExpired, events.TypePaymentCompleted,
	}, []string{confirmed, events.ReasonReservationExpired}},
	{"expired, then paid and refunded", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypeReservationExpired,
		events.TypePaymentCompleted, events.TypeInventoryReleased, events.TypePaymentRefunded,
	}, []string{confirmed, events.ReasonReservationExpired}},
	{"expired while it is declined", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypeReservationExpired,
		events.TypePaymentFailed, events.TypeInventoryReleased,
	}, []string{events.ReasonReservationExpired, events.ReasonPaymentDeclined}},
	{"cancelled by the customer before it is paid", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, customerAsks, events.TypeInventoryReleased,
	}, []string{events.ReasonCustomerRequest}},
	{"cancelled by the customer while it is paid", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, events.TypePaymentCompleted, customerAsks,
	}, []string{confirmed, events.ReasonCustomerRequest}},
	{"cancelled by the customer, then paid and refunded", []string{
		events.TypeOrderCreated, events.TypeInventoryReserved, customerAsks,
		events.TypePaymentCompleted, events.TypeInventoryReleased, events.TypePaymentRefunded,
	}, []string{confirmed, events.ReasonCustomerRequest}},
	{"cancelled by the customer while it is out of stock", []string{
		events.TypeOrderCreated, events.TypeReservationFailed, customerAsks,
	}, []string{events.ReasonOutOfStock, events.ReasonCustomerRequest}},
}

var (
	epoch = time.Date(2024, 6, 14, 9, 30, 0, 0, time.UTC)
	total = events.Money{Amount: 1530, Currency: "GBP"}
)

// sample returns an order's event of a type.
func sample(eventType string, id uuid.UUID) events.Event {
	subject := events.Subject{OrderID: id}
	allocations := []events.Allocation{{SKU: "85123A", Warehouse: "leeds", Quantity: 6}}
	switch eventType {
	case events.TypeOrderCreated:
		return &events.OrderCreated{
			Subject: subject, CustomerID: "17850", Total: total, PaymentToken: "tok_success",
			Lines: []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}},
		}
	case events.TypeInventoryReserved:
		return &events.InventoryReserved{
			Subject: subject, Allocations: allocations, Total: total, PaymentToken: "tok_success", ExpiresAt: epoch,
		}
	case events.TypeReservationFailed:
		return &events.ReservationFailed{Subject: subject,
			Reason: events.Reason{Code: events.ReasonOutOfStock, Message: "85123A is out of stock."}}
	case events.TypeReservationExpired:
		return &events.ReservationExpired{Subject: subject, ExpiredAt: epoch}
	case events.TypeInventoryReleased:
		return &events.InventoryReleased{Subject: subject, Allocations: allocations}
	case events.TypePaymentCompleted:
		return &events.PaymentCompleted{Subject: subject, ChargeID: "ch_1", Amount: total}
	case events.TypePaymentFailed:
		return &events.PaymentFailed{Subject: subject,
			Reason: events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
	case events.TypePaymentRefunded:
		return &events.PaymentRefunded{Subject: subject, RefundID: "re_1", Amount: total}
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
