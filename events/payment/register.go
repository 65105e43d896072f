package payment

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that payment publishes.
var Events = events.Register("payment", events.KindOrder,
	Completed{OfOrder: sample.Order, ChargeID: "ch_1", Amount: sample.Total},
	Failed{
		OfOrder: sample.Order,
		Reason:  events.Reason{Code: events.ReasonPaymentDeclined, Message: "The card was declined."},
	},
	Refunded{OfOrder: sample.Order, RefundID: "re_1", Amount: sample.Total},
)

// CustomerEvents are the types that payment publishes about customers.
var CustomerEvents = events.Register("payment", events.KindCustomer, CustomerErased{sample.Erased})
