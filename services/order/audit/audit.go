// Package audit is what order lets auditors read of its books.
package audit

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
)

// Books are those of order.
var Books = audit.Books{
	Busy:      `select exists (select from orders where status = 'pending' and placed_at is not null)`,
	Story:     story,
	Customers: []audit.Column{{Table: "orders", Name: "customer_id"}},
	Rules: []audit.Rule{{
		Name: "an order's total is the sum of its parts", Unit: "orders", Count: `select count(*) from orders where placed_at is not null`,
		// Through JSON, since a database of the release before has no columns for extras.
		Faults: `
			select id::text, format('the total is %s, lines come to %s, adjustments to %s, shipping to %s, tax to %s', amount, parts.lines, parts.adjustments, parts.shipping, parts.tax)
			from orders o, lateral (select
				(select coalesce(sum((l ->> 'quantity')::numeric * (l ->> 'unit_price')::numeric), 0)
					from jsonb_array_elements(nullif(o.lines, 'null')) l) as lines,
				(select coalesce(sum((a ->> 'amount')::numeric), 0)
					from jsonb_array_elements(nullif(to_jsonb(o) -> 'adjustments', 'null')) a) as adjustments,
				coalesce((to_jsonb(o) ->> 'shipping')::numeric, 0) as shipping,
				coalesce((to_jsonb(o) ->> 'tax')::numeric, 0) as tax) parts
			where placed_at is not null and amount <> parts.lines + parts.adjustments + parts.shipping + parts.tax
			order by id`,
	}},
}

// Progress is that of orders.
var Progress = audit.Progress{Table: "orders", UnderWay: "status = 'pending'", Customer: "customer_id"}

// Order is an order and what was decided on it.
type Order struct {
	ID       uuid.UUID
	Status   string
	Amount   int64
	Currency string
	Units    int64
	PlacedAt *time.Time // nil: its creation was not heard of yet
}

// Orders reads all orders, or, unless ids is nil, some.
func Orders(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Order], error) {
	return audit.Read(ctx, db, `
		select id, status, amount, currency,
			coalesce((select sum((l ->> 'quantity')::bigint) from jsonb_array_elements(nullif(lines, 'null')) l), 0)::bigint,
			placed_at
		from orders`+audit.ByID, ids, func(o *Order) uuid.UUID { return o.ID })
}

type row struct {
	Status        string
	Reason        *events.Reason
	Traceparent   string
	PlacedAt      *time.Time
	ReservedAt    *time.Time
	CancelAskedAt *time.Time
	SettledAt     *time.Time
}

func story(ctx context.Context, db audit.DB, order uuid.UUID) (*audit.Story, error) {
	o, err := audit.One[row](ctx, db, `
		select status, reason, traceparent, placed_at, reserved_at, cancel_asked_at, settled_at
		from orders where id = $1`, order)
	if err != nil || o == nil {
		return nil, err
	}
	s := &audit.Story{Status: o.Status, Reason: o.Reason, Trace: o.Traceparent, Waits: o.waits()}
	if o.CancelAskedAt != nil {
		s.Moments = append(s.Moments, audit.Moment{At: *o.CancelAskedAt, What: "asks to cancel", By: "customer"})
	}
	s.Tell(o.SettledAt, strings.ToUpper(o.Status), audit.Why(o.Reason), o.Status == "cancelled")
	return s, nil
}

func (o *row) waits() audit.Wait {
	switch {
	case o.Status != "pending":
		return audit.Wait{}
	case o.PlacedAt == nil:
		return audit.Wait{What: "the order service to hear of it"}
	case o.ReservedAt == nil:
		return audit.Wait{What: "stock"}
	default:
		return audit.Wait{What: "the payment service to hear of it", On: "payment"}
	}
}

// End is how an order ended.
type End struct {
	ID     uuid.UUID
	Status string
	Code   string // of the reason, when cancelled
	Took   time.Duration
}

// Ends reads those of some orders that have ended.
func Ends(ctx context.Context, db audit.DB, ids []uuid.UUID) ([]End, error) {
	return audit.All[End](ctx, db, `
		select id, status, coalesce(reason ->> 'code', ''), settled_at - placed_at
		from orders where id = any($1) and status <> 'pending'`, ids)
}

// Waiting counts some orders by the service that they wait for.
func Waiting(ctx context.Context, db audit.DB, ids []uuid.UUID) (map[string]int, error) {
	type count struct {
		Service string
		Orders  int
	}
	counts, err := audit.All[count](ctx, db, `
		select case when o.placed_at is null then 'checkout' when o.reserved_at is null then 'inventory' else 'payment' end, count(*)
		from unnest($1::uuid[]) i (id) left join orders o using (id) group by 1`, ids)
	waiting := make(map[string]int)
	for _, c := range counts {
		waiting[c.Service] = c.Orders
	}
	return waiting, err
}
