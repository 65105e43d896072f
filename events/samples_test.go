package events_test

import (
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

var orderID = uuid.MustParse("01977420-0000-7000-8000-00000000f00d")

func created() events.OrderCreated {
	return events.OrderCreated{
		Subject:    events.Subject{OrderID: orderID},
		CustomerID: "customer-17850",
		Lines: []events.Line{
			{SKU: "85123A", Quantity: 6, UnitPrice: 255},
			{SKU: "71053", Quantity: 1, UnitPrice: 339},
		},
		Total:        events.Money{Amount: 1869, Currency: "GBP"},
		PaymentToken: "tok_success",
	}
}

func reserved() events.InventoryReserved {
	return events.InventoryReserved{
		Subject: events.Subject{OrderID: orderID},
		Allocations: []events.Allocation{
			{SKU: "85123A", Warehouse: "london", Quantity: 4},
			{SKU: "85123A", Warehouse: "leeds", Quantity: 2},
			{SKU: "71053", Warehouse: "london", Quantity: 1},
		},
		Total:        events.Money{Amount: 1869, Currency: "GBP"},
		PaymentToken: "tok_success",
		ExpiresAt:    time.Date(2026, 6, 15, 9, 45, 0, 0, time.UTC),
	}
}

// samples holds a valid event of each type, with every field set.
func samples() []events.Event {
	return append(retailSamples(), b2bSamples()...)
}

func retailSamples() []events.Event {
	subject := events.Subject{OrderID: orderID}
	total := events.Money{Amount: 1869, Currency: "GBP"}
	return []events.Event{
		created(),
		reserved(),
		events.ReservationFailed{
			Subject:   subject,
			Reason:    events.Reason{Code: events.ReasonOutOfStock, Message: "71053 is out of stock."},
			Shortages: []events.Shortage{{SKU: "71053", Requested: 1, Available: 0}},
		},
		events.ReservationExpired{Subject: subject, ExpiredAt: time.Date(2026, 6, 15, 9, 45, 0, 0, time.UTC)},
		events.InventoryReleased{Subject: subject, Allocations: reserved().Allocations},
		events.PaymentCompleted{Subject: subject, ChargeID: "ch_1", Amount: total},
		events.PaymentFailed{
			Subject: subject,
			Reason:  events.Reason{Code: events.ReasonPaymentDeclined, Message: "The card was declined."},
		},
		events.PaymentRefunded{Subject: subject, RefundID: "re_1", Amount: total},
		events.OrderConfirmed{Subject: subject, CustomerID: "customer-17850", Total: total},
		events.OrderCancelled{
			Subject: subject, CustomerID: "customer-17850",
			Reason: events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."},
		},
	}
}
