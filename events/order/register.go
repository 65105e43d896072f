package order

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that order publishes.
var Events = events.Register("order", events.KindOrder,
	Confirmed{OfOrder: sample.Order, CustomerID: "customer-17850", Total: sample.Total},
	Cancelled{OfOrder: sample.Order, CustomerID: "customer-17850", Reason: sample.Cancelled},
)

// CustomerEvents are the types that order publishes about customers.
var CustomerEvents = events.Register("order", events.KindCustomer, CustomerErased{sample.Erased})

// b2b confirmed its own orders by it.
func init() { events.PublishedBefore(TypeConfirmed, "b2b") } //nolint:gochecknoinits // only after Register has run
