package bench

import (
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/audit"
)

// A trade is one of the ways in which Quadrille sells, as the load and the books
// need to know it.
type trade struct {
	shop string // the service that takes the orders
	path string // where it takes them
	desk string // the service that takes what is wanted of an order later

	// parts are the services that an order passes, by name. Those that hear of an order's end
	// last say when it is not settled.
	parts map[string]audit.Progress
	// judge is the service that says how an order ended.
	judge string
	// approvals: one conducts the order, which waits for a decision. The load gives it
	// as soon as it is asked for. Bare Dapr is no baseline for these.
	approvals bool
	// way has the events on the way of an order that is confirmed, one after the other.
	// The last ends an order at several services; the slowest of them counts.
	way []hop
}

// hop is an event from the service that emits it to those that hear it.
type hop struct {
	topic, from string
	to          []string
}

// checkouts are the orders of consumers: a choreography of four services.
var checkouts = trade{
	shop: "checkout", path: "/v1/checkouts", desk: "order", judge: "order",
	way: []hop{
		{checkout.TypeOrderCreated, "checkout", []string{"inventory"}},
		{inventory.TypeReserved, "inventory", []string{"payment"}},
		{payment.TypeCompleted, "payment", []string{"order"}},
		{order.TypeConfirmed, "order", []string{"checkout", "inventory"}},
	},
	parts: checkoutParts,
}

// deals are the orders of companies: a saga that b2b conducts, and the shipment
// that inventory makes of its end.
var deals = trade{
	shop: "b2b", path: "/v1/b2b/orders", desk: "b2b", judge: "b2b", approvals: true,
	parts: dealParts,
}
