// Package verify proves from the services' databases and the third parties' books
// that the books of all agree: nothing oversold, nobody charged twice or for
// nothing, no credit beyond its limit, no order forgotten.
//
// Services move while it reads, and each database is read at its own moment. A
// fault is therefore reported only if it is still there when its order is read
// again, for as long as Patience.
package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	serviceaudit "quadrille.internal/platform/audit"
	"quadrille.internal/quad/provider"
)

// Sources are the books: each service's database, to be read only, and the
// provider's ledger.
type Sources struct {
	Checkout, Inventory, Payment, Order *pgxpool.Pool
	Provider                            Provider
	// B2B and ERP are the books of companies' orders; nil where there are none.
	B2B *pgxpool.Pool
	ERP ERP
	// Others are services by name, whose rules are in views of theirs: see package audit.
	Others map[string]*pgxpool.Pool
	// Patience is how long a fault may take to clear up. Default 3 s: several times
	// what a message needs when nothing is wrong.
	Patience time.Duration
	// Settle is how long Run first waits for quiet: nothing unsettled, nothing
	// unpublished. Default: not at all.
	Settle time.Duration
}

// Provider is the ledger of the payment provider, which only ever grows.
type Provider interface {
	// Charges and Refunds return what was made after the entry of the given id.
	Charges(ctx context.Context, after string) ([]provider.Charge, error)
	Refunds(ctx context.Context, after string) ([]provider.Refund, error)
}

// ERP is the books of the ERP, whose orders may yet be cancelled.
type ERP interface {
	Orders(ctx context.Context) ([]provider.ERPOrder, error)
	OrdersOf(ctx context.Context, id uuid.UUID) ([]provider.ERPOrder, error)
}

// Check is one rule, what it was held against, and what breaks it.
type Check struct {
	Name      string     `json:"name"`
	Checked   int        `json:"checked"`
	Unit      string     `json:"unit"`
	Offenders []Offender `json:"offenders"`
}

// Offender breaks a rule. ID is an order's, a company's, a SKU with its warehouse,
// or a service with an event's.
type Offender struct {
	ID      string `json:"id"`
	Problem string `json:"problem"`
}

// Report is the outcome of all checks.
type Report struct {
	Checks []Check `json:"checks"`
	// Waiting are orders older than a minute that say what they wait for.
	Waiting []Offender `json:"waiting,omitempty"`
	// Quiet says whether everything had settled before the checks, if Settle was asked for.
	Quiet bool          `json:"quiet"`
	Took  time.Duration `json:"took_ns"`
}

// OK reports whether no rule is broken.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Checks, func(c Check) bool { return len(c.Offenders) > 0 })
}

// String lists the offenders, for the log of a test.
func (r *Report) String() string {
	var out strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&out, "%s: %d %s, %d at fault\n", c.Name, c.Checked, c.Unit, len(c.Offenders))
		for _, o := range c.Offenders {
			fmt.Fprintf(&out, "  %s: %s\n", o.ID, o.Problem)
		}
	}
	return out.String()
}

const (
	defaultPatience = 3 * time.Second
	readAgainEvery  = 200 * time.Millisecond
)

// Run makes all checks. An error means that they could not be made.
func Run(ctx context.Context, src Sources) (Report, error) {
	began := time.Now()
	if src.Patience == 0 {
		src.Patience = defaultPatience
	}
	var report Report
	var err error
	if src.Settle > 0 {
		if report.Quiet, err = src.awaitQuiet(ctx); err != nil {
			return report, err
		}
	}
	stock, err := src.stock(ctx)
	if err != nil {
		return report, err
	}
	orders, err := src.orders(ctx)
	if err != nil {
		return report, err
	}
	report.Waiting = orders.waiting
	credit, err := src.credit(ctx)
	if err != nil {
		return report, err
	}
	events, err := src.events(ctx)
	if err != nil {
		return report, err
	}
	others, err := src.others(ctx)
	if err != nil {
		return report, err
	}
	report.Checks = slices.Concat(stock, orders.checks(), credit, others, events)
	report.Took = time.Since(began)
	return report, nil
}

// awaitQuiet waits until nothing is on its way, or Settle is over.
func (src *Sources) awaitQuiet(ctx context.Context) (bool, error) {
	deadline := time.Now().Add(src.Settle)
	for {
		busy, err := src.busy(ctx)
		if err != nil || !busy {
			return !busy, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := pause(ctx); err != nil {
			return false, err
		}
	}
}

func (src *Sources) busy(ctx context.Context) (bool, error) {
	for _, s := range []struct {
		pool *pgxpool.Pool
		sql  string
	}{
		{src.Checkout, `select exists (select from checkouts where status = 'placed') or exists (select from outbox)`},
		{src.Order, `select exists (select from orders where status = 'pending' and placed_at is not null) or exists (select from outbox)`},
		{src.Inventory, `select exists (select from reservations where status in ('held', 'unknown')) or exists (select from outbox)`},
		{src.Payment, `select exists (select from payments where due_at is not null or status = 'unknown' and not cancelled) or exists (select from outbox)`},
		{src.B2B, b2bBusySQL},
	} {
		if s.pool == nil {
			continue
		}
		var busy bool
		if err := s.pool.QueryRow(ctx, s.sql).Scan(&busy); err != nil || busy {
			return busy, err
		}
	}
	for _, pool := range src.Others {
		var busy bool
		if err := pool.QueryRow(ctx, `select exists (select from outbox)`).Scan(&busy); err != nil || busy {
			return busy, err
		}
	}
	return false, nil
}

// others are the rules of services that bring their own. Each reads one database at one
// moment, so that nothing need be read again.
func (src *Sources) others(ctx context.Context) (checks []Check, err error) {
	for _, service := range slices.Sorted(maps.Keys(src.Others)) {
		found, err := serviceaudit.Checks(ctx, src.Others[service])
		if err != nil {
			return nil, fmt.Errorf("read the rules of %s: %w", service, err)
		}
		for _, c := range found {
			check := Check{Name: service + ": " + c.Name, Checked: c.Checked, Unit: c.Unit}
			for _, f := range c.Faults {
				check.Offenders = append(check.Offenders, Offender(f))
			}
			checks = append(checks, check)
		}
	}
	return checks, nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(readAgainEvery):
		return nil
	}
}

// stock checks what lies in the warehouses against the movements and the
// reservations. One statement sees one moment, so that nothing need be read again.
func (src *Sources) stock(ctx context.Context) ([]Check, error) {
	onHand := Check{Name: "stock on hand = moved - shipped", Unit: "stocks"}
	held := Check{Name: "stock held = held by orders", Unit: "stocks"}
	var counted, moved, shipped, stockHeld, orderHeld int64
	var where string
	rows, err := src.Inventory.Query(ctx, stockSQL)
	if err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	_, err = pgx.ForEachRow(rows, []any{&where, &counted, &moved, &shipped, &stockHeld, &orderHeld}, func() error {
		onHand.Checked++
		if counted != moved-shipped {
			onHand.Offenders = append(onHand.Offenders, Offender{where,
				fmt.Sprintf("%d on hand, but %d moved in and %d shipped", counted, moved, shipped)})
		}
		if stockHeld != orderHeld {
			held.Offenders = append(held.Offenders, Offender{where,
				fmt.Sprintf("%d held, but orders hold %d", stockHeld, orderHeld)})
		}
		return nil
	})
	held.Checked = onHand.Checked
	return []Check{onHand, held}, err
}

const stockSQL = `
	with moved as (
		select sku, warehouse, sum(delta)::bigint as delta from stock_movements group by sku, warehouse),
	allocated as (
		select a.sku, a.warehouse,
		       coalesce(sum(a.quantity) filter (where r.status = 'shipped'), 0)::bigint as shipped,
		       coalesce(sum(a.quantity) filter (where r.status = 'held'), 0)::bigint as held
		from reservations r,
		     jsonb_to_recordset(r.allocations) as a (sku text, warehouse text, quantity bigint)
		where r.status in ('held', 'shipped')
		group by a.sku, a.warehouse)
	select sku || ' in ' || warehouse, coalesce(s.on_hand, 0), coalesce(m.delta, 0),
	       coalesce(a.shipped, 0), coalesce(s.held, 0), coalesce(a.held, 0)
	from stock s full join moved m using (sku, warehouse) full join allocated a using (sku, warehouse)
	order by sku, warehouse`

// events checks that nothing is left unpublished or unhandled.
func (src *Sources) events(ctx context.Context) ([]Check, error) {
	outbox := Check{Name: "every event is published", Unit: "outboxes"}
	parked := Check{Name: "no event is parked", Unit: "services"}
	type book struct {
		name string
		pool *pgxpool.Pool
	}
	books := []book{
		{"checkout", src.Checkout}, {"inventory", src.Inventory}, {"payment", src.Payment}, {"order", src.Order},
		{"b2b", src.B2B},
	}
	for _, name := range slices.Sorted(maps.Keys(src.Others)) {
		books = append(books, book{name, src.Others[name]})
	}
	for _, service := range books {
		if service.pool == nil {
			continue
		}
		left, err := src.unpublished(ctx, service.pool)
		if err != nil {
			return nil, fmt.Errorf("read the outbox of %s: %w", service.name, err)
		}
		refused, err := leftEvents(ctx, service.pool,
			`select event_id, topic || ': ' || split_part(cause, E'\n', 1) from parked order by parked_at, event_id`)
		if err != nil {
			return nil, fmt.Errorf("read the parked events of %s: %w", service.name, err)
		}
		outbox.add(service.name, left)
		parked.add(service.name, refused)
	}
	return []Check{outbox, parked}, nil
}

func (c *Check) add(service string, left []leftEvent) {
	c.Checked++
	for _, e := range left {
		c.Offenders = append(c.Offenders, Offender{service + " " + e.ID.String(), e.What})
	}
}

// leftEvent is an event where none should be.
type leftEvent struct {
	ID   uuid.UUID
	What string
}

func leftEvents(ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) ([]leftEvent, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[leftEvent])
}

// unpublished returns the oldest events of an outbox that stay there: events pass
// through it all the time.
func (src *Sources) unpublished(ctx context.Context, pool *pgxpool.Pool) ([]leftEvent, error) {
	deadline := time.Now().Add(src.Patience)
	left, err := leftEvents(ctx, pool, `select id, topic || ' of ' || key from outbox order by xid, id limit 1000`)
	for err == nil && len(left) > 0 && time.Now().Before(deadline) {
		if err := pause(ctx); err != nil {
			return nil, err
		}
		ids := make([]uuid.UUID, len(left))
		for i, e := range left {
			ids[i] = e.ID
		}
		left, err = leftEvents(ctx, pool, `select id, topic || ' of ' || key from outbox where id = any($1) order by xid, id`, ids)
	}
	return left, err
}
