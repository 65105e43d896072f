// Package verify proves from the services' databases and the third parties' books
// that the books of all agree: nothing oversold, nobody charged twice or for
// nothing, no credit beyond its limit, no order forgotten.
//
// Services move while it reads, and each database is read at its own moment. A
// fault is therefore reported only if it is still there when its order is read
// again, for as long as ClearWithin.
package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/books"
	"quadrille.internal/quad/provider"
	inventory "quadrille.internal/services/inventory/audit"
)

// Sources are the books: the services' databases, to be read only, and those of third
// parties.
type Sources struct {
	// Databases are by service. Checkout, inventory, payment and order must be there.
	Databases map[string]*pgxpool.Pool
	Provider  Provider
	// ERP has companies' orders; nil where there are none.
	ERP ERP
	// Services say what can be read of theirs. Default: all that there are.
	Services []books.Service
	// ClearWithin is how long a fault may take to clear up. Default 3 s: several times
	// what a message needs when nothing is wrong.
	ClearWithin time.Duration
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
	defaultClearWithin = 3 * time.Second
	readAgainEvery     = 200 * time.Millisecond
)

// needed are the services whose books make up an order.
var needed = []string{"checkout", "inventory", "payment", "order"}

// Run makes all checks. An error means that they could not be made.
func Run(ctx context.Context, src Sources) (Report, error) {
	began := time.Now()
	if src.ClearWithin == 0 {
		src.ClearWithin = defaultClearWithin
	}
	if src.Services == nil {
		src.Services = books.All()
	}
	for _, service := range needed {
		if src.Databases[service] == nil {
			return Report{}, fmt.Errorf("the database of %s is needed", service)
		}
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
	own, err := src.own(ctx)
	if err != nil {
		return report, err
	}
	erased, err := src.erased(ctx)
	if err != nil {
		return report, err
	}
	quotes, err := src.quotes(ctx)
	if err != nil {
		return report, err
	}
	own = append(own, erased, quotes)
	copies, err := src.copies(ctx)
	if err != nil {
		return report, err
	}
	report.Checks = slices.Concat(stock, orders.checks(), credit, own, copies, events)
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
	for _, s := range src.services() {
		if busy, err := s.IsBusy(ctx, s.DB); err != nil || busy {
			return busy, err
		}
	}
	return false, nil
}

// services are those whose databases are there.
func (src *Sources) services() []books.Open { return books.In(src.Databases, src.Services) }

// own are the rules that services bring. Each reads one database at one moment, so that
// nothing need be read again.
func (src *Sources) own(ctx context.Context) (checks []Check, err error) {
	for _, s := range src.services() {
		found, err := s.Check(ctx, s.DB)
		if err != nil {
			return nil, fmt.Errorf("hold %s against its rules: %w", s.Name, err)
		}
		for _, c := range found {
			check := Check{Name: s.Name + ": " + c.Name, Checked: c.Checked, Unit: c.Unit}
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
// reservations. It is read at one moment, so that nothing need be read again.
func (src *Sources) stock(ctx context.Context) ([]Check, error) {
	onHand := Check{Name: "stock on hand = moved - shipped", Unit: "stocks"}
	held := Check{Name: "stock held = held by orders", Unit: "stocks"}
	err := inventory.Stocks(ctx, src.Databases["inventory"], func(s inventory.Stock) {
		where := s.SKU + " in " + s.Warehouse
		onHand.Checked++
		if s.OnHand != s.Moved-s.Shipped {
			onHand.Offenders = append(onHand.Offenders, Offender{where,
				fmt.Sprintf("%d on hand, but %d moved in and %d shipped", s.OnHand, s.Moved, s.Shipped)})
		}
		if s.Held != s.HeldByOrders {
			held.Offenders = append(held.Offenders, Offender{where,
				fmt.Sprintf("%d held, but orders hold %d", s.Held, s.HeldByOrders)})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	held.Checked = onHand.Checked
	return []Check{onHand, held}, nil
}

// events checks that nothing is left unpublished or unhandled.
func (src *Sources) events(ctx context.Context) ([]Check, error) {
	outbox := Check{Name: "every event is published", Unit: "outboxes"}
	parked := Check{Name: "no event is parked", Unit: "services"}
	for _, s := range src.services() {
		left, err := src.unpublished(ctx, s.DB)
		if err != nil {
			return nil, fmt.Errorf("read the outbox of %s: %w", s.Name, err)
		}
		refused, err := audit.Parked(ctx, s.DB)
		if err != nil {
			return nil, fmt.Errorf("read the parked events of %s: %w", s.Name, err)
		}
		outbox.add(s.Name, left)
		parked.add(s.Name, refused)
	}
	return []Check{outbox, parked}, nil
}

func (c *Check) add(service string, left []audit.Event) {
	c.Checked++
	for _, e := range left {
		c.Offenders = append(c.Offenders, Offender{service + " " + e.ID.String(), e.What})
	}
}

// unpublished returns the oldest events of an outbox that stay there: events pass
// through it all the time.
func (src *Sources) unpublished(ctx context.Context, db *pgxpool.Pool) ([]audit.Event, error) {
	deadline := time.Now().Add(src.ClearWithin)
	left, err := audit.Unpublished(ctx, db)
	for err == nil && len(left) > 0 && time.Now().Before(deadline) {
		if err := pause(ctx); err != nil {
			return nil, err
		}
		ids := make([]uuid.UUID, len(left))
		for i, e := range left {
			ids[i] = e.ID
		}
		left, err = audit.StillUnpublished(ctx, db, ids)
	}
	return left, err
}
