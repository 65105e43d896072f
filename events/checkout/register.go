package checkout

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that checkout publishes.
var Events = events.Register("checkout", events.KindOrder,
	OrderCreated{
		OfOrder: sample.Order, CustomerID: "customer-17850", Lines: sample.Lines(), Total: sample.Total, PaymentToken: "tok_success",
	},
	OrderCreatedV2{
		OfOrder: sample.Order, CustomerID: "customer-17850", Lines: sample.Lines(),
		Extras: events.Extras{
			Adjustments: []events.Adjustment{{Name: "Three for two", Amount: -510, Line: 1}, {Name: "SPRING10", Amount: -136}},
			Shipping:    499, Tax: 344,
		},
		Total: events.Money{Amount: 2066, Currency: "GBP"}, PaymentToken: "tok_success", QuoteID: sample.OrderID,
	},
)

// CustomerEvents are the types that checkout publishes about customers.
var CustomerEvents = events.Register("checkout", events.KindCustomer, CustomerErased{sample.Erased})
