// Package audit is what b2b lets auditors read of its books.
package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/workflows/b2b/decisionlog"
)

// Books are those of b2b. Orders that wait for a person do not make it busy. The story of
// a company's order is b2b's own (GET /v1/b2b/orders/ID).
var Books = audit.Books{
	Busy: `select exists (select from orders o where ended_at is null and status <> 'compensation_failed'
		and not exists (select from gates g where g.id = o.id and g.state = 'open'))`,
}

// Progress is that of companies' orders.
var Progress = audit.Progress{
	Table: "orders", Unsettled: "ended_at is null", UnderWay: "ended_at is null", Refused: "status <> 'completed'", Customer: "company_id",
}

// Order is a company's order with its approval gate.
type Order struct {
	ID         uuid.UUID
	Status     string
	Reason     string
	Credit     string
	Amount     int64
	Currency   string
	ERPOrderID string
	Units      int64 // allocated
	Ended      bool
	MovedAt    time.Time
	Gate       string // "" where no approval was asked for
	Need       int
	ExpireAt   *time.Time
	Decisions  []decisionlog.Decision
	// What approvers decided on, beside ID, Amount and Currency.
	CompanyID      string
	OrderedBy      string
	AllowBackorder bool
	Lines          []events.Line
	RequestHash    string
	// The key that seals decisions.
	InnerPad, OuterPad []byte
	KeySince           time.Time
}

// Orders reads all companies' orders, or, unless ids is nil, some.
func Orders(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Order], error) {
	return audit.Read(ctx, db, ordersSQL+audit.ByID, ids, func(o *Order) uuid.UUID { return o.ID })
}

const ordersSQL = `
	select id, status, reason, credit, amount, currency, erp_order_id, units, ended, moved_at, state, need, expire_at, decisions,
		company_id, ordered_by, allow_backorder, lines, request_hash, inner_pad, outer_pad, since
	from (
		select o.id, o.status, coalesce(o.reason ->> 'message', '') as reason, o.credit, o.amount, o.currency, o.erp_order_id,
			coalesce((select sum((a ->> 'quantity')::bigint) from jsonb_array_elements(nullif(o.allocations, 'null')) a), 0)::bigint as units,
			o.ended_at is not null as ended, o.moved_at, coalesce(g.state, '') as state, coalesce(g.need, 0) as need, g.expire_at,
			coalesce((
				select jsonb_agg(jsonb_build_object(
					'order_id', d.order_id, 'seq', d.seq, 'approver', d.approver, 'on_behalf_of', d.on_behalf_of,
					'verdict', d.verdict, 'reason', d.reason, 'order_hash', d.order_hash, 'source', d.source,
					'decided_at', d.decided_at, 'prev_hash', d.prev_hash, 'hash', d.hash,
					'recorded_at', d.recorded_at, 'mac', d.mac) order by d.seq)
				from decisions d where d.order_id = o.id), '[]') as decisions,
			o.company_id, o.ordered_by, o.allow_backorder, o.lines, o.request_hash,
			coalesce(k.inner_pad, '') as inner_pad, coalesce(k.outer_pad, '') as outer_pad, coalesce(k.since, 'epoch') as since
		from orders o left join gates g on g.id = o.id left join decision_key k on true) as o`

// Credit is a company's, and what its orders say of it.
type Credit struct {
	Company string
	// Limit is what Held and Used may be together.
	Limit, Held, Used int64
	// What its orders hold and use, and so should be Held and Used.
	HeldByOrders, UsedByOrders int64
}

// Credits reads the credit of all companies, by id. One statement sees one moment.
func Credits(ctx context.Context, db audit.DB, each func(Credit)) error {
	return audit.Each(ctx, db, `
		select c.id, c.credit_limit, c.held, c.exposure,
		       coalesce(sum(coalesce(o.credit_amount, o.amount)) filter (where o.credit = 'held'), 0)::bigint,
		       coalesce(sum(coalesce(o.credit_amount, o.amount)) filter (where o.credit = 'used'), 0)::bigint
		from companies c left join orders o on o.company_id = c.id
		group by c.id order by c.id`, each)
}

// Gate is an approval that is asked for.
type Gate struct {
	ID  string
	Key string // the order's idempotency key
}

// OpenGates reads those of orders from an id upwards whose keys begin with a prefix.
func OpenGates(ctx context.Context, db audit.DB, from, prefix string) ([]Gate, error) {
	return audit.All[Gate](ctx, db, `
		select g.id::text, o.idempotency_key from gates g join orders o using (id)
		where g.state = 'open' and g.id >= $1 and starts_with(o.idempotency_key, $2)`, from, prefix)
}

// Escalated reports whether an order's approval has gone to the next level.
func Escalated(ctx context.Context, db audit.DB, order uuid.UUID) (escalated bool, err error) {
	err = db.QueryRow(ctx, `select level > 1 from gates where id = $1`, order).Scan(&escalated)
	return escalated, err
}
