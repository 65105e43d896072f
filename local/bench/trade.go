package bench

import (
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
)

// A trade is one of the ways in which Quadrille sells, as the load and the books
// need to know it.
type trade struct {
	shop string // the service that takes the orders
	path string // where it takes them
	desk string // the service that takes what is wanted of an order later

	// unsettled and underWay count, by service, what is left to do of the orders from
	// $1 upwards. The first is for pacing and asks only the services that hear of an
	// order's end last; it returns the lowest id too.
	unsettled, underWay map[string]string
	// taken reads the orders from $1 upwards whose key begins with $2: id, commit
	// time, key and whether it was refused.
	taken string
	// settled reads, by service, when the last of an order's other rows was committed.
	settled map[string]string
	// outcomes counts how the orders from $1 upwards ended, of customers that begin
	// with $2.
	outcomes string
	// judge is the service that says how an order ended.
	judge string
	// approvals: one conducts the order, which waits for a decision. The load gives it
	// as soon as it is asked for. Bare Dapr is no yardstick for these.
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

const (
	reservationsUnsettled = "select count(*), coalesce(min(id::text), '') from reservations where id >= $1 and status in ('unknown', 'held')"
	reservationsUnderWay  = "select count(*) from reservations where id >= $1 and status = 'held'"
	reservationsSettled   = "select id, pg_xact_commit_timestamp(xmin) from reservations where id >= $1"
)

// checkouts are the orders of consumers: a choreography of four services.
var checkouts = trade{
	shop: "checkout", path: "/v1/checkouts", desk: "order", judge: "order",
	way: []hop{
		{checkout.TypeOrderCreated, "checkout", []string{"inventory"}},
		{inventory.TypeReserved, "inventory", []string{"payment"}},
		{payment.TypeCompleted, "payment", []string{"order"}},
		{order.TypeConfirmed, "order", []string{"checkout", "inventory"}},
	},
	unsettled: map[string]string{
		"checkout":  "select count(*), coalesce(min(id::text), '') from checkouts where id >= $1 and status = 'placed'",
		"inventory": reservationsUnsettled,
	},
	underWay: map[string]string{
		"checkout":  "select count(*) from checkouts where id >= $1 and status = 'placed'",
		"order":     "select count(*) from orders where id >= $1 and status = 'pending'",
		"inventory": reservationsUnderWay,
		"payment":   "select count(*) from payments where id >= $1 and due_at is not null",
	},
	taken: `
		select id, pg_xact_commit_timestamp(xmin), idempotency_key, status = 'cancelled' from checkouts
		where id >= $1 and starts_with(idempotency_key, $2)`,
	settled: map[string]string{
		"order":     "select id, pg_xact_commit_timestamp(xmin) from orders where id >= $1",
		"inventory": reservationsSettled,
		"payment":   "select id, pg_xact_commit_timestamp(xmin) from payments where id >= $1",
	},
	outcomes: `
		select coalesce(reason->>'code', status), count(*) from orders
		where id >= $1 and starts_with(customer_id, $2) group by 1`,
}

// deals are the orders of companies: a saga that b2b conducts, and the shipment
// that inventory makes of its end.
var deals = trade{
	shop: "b2b", path: "/v1/b2b/orders", desk: "b2b", judge: "b2b", approvals: true,
	unsettled: map[string]string{
		"b2b":       "select count(*), coalesce(min(id::text), '') from orders where id >= $1 and ended_at is null",
		"inventory": reservationsUnsettled,
	},
	underWay: map[string]string{
		"b2b":       "select count(*) from orders where id >= $1 and ended_at is null",
		"inventory": reservationsUnderWay,
	},
	taken: `
		select id, pg_xact_commit_timestamp(xmin), idempotency_key, status <> 'completed' from orders
		where id >= $1 and starts_with(idempotency_key, $2)`,
	settled: map[string]string{"inventory": reservationsSettled},
	outcomes: `
		select coalesce(reason->>'code', status), count(*) from orders
		where id >= $1 and starts_with(company_id, $2) group by 1`,
}
