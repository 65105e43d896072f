package verify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/provider"
	"quadrille.internal/workflows/b2b/decisionlog"
)

var (
	completed = uuid.MustParse("00000000-0000-7000-8000-00000000000a")
	rejected  = uuid.MustParse("00000000-0000-7000-8000-00000000000b")
	waiting   = uuid.MustParse("00000000-0000-7000-8000-00000000000c")
	stuck     = uuid.MustParse("00000000-0000-7000-8000-00000000000d")
)

// office is a world with a company's orders: one completed, one rejected after its
// stock was held, one that waits for approval, one whose compensation failed.
type office struct {
	*world
	b2b *pgxpool.Pool
	erp erpOrders
}

// erpOrders stands in for the ERP, a third party.
type erpOrders struct{ list []provider.ERPOrder }

func (e *erpOrders) Orders(context.Context) ([]provider.ERPOrder, error) { return e.list, nil }

func (e *erpOrders) OrdersOf(_ context.Context, id uuid.UUID) ([]provider.ERPOrder, error) {
	var found []provider.ERPOrder
	for _, o := range e.list {
		if o.ExternalID == id {
			found = append(found, o)
		}
	}
	return found, nil
}

func (e *erpOrders) add(id string, order uuid.UUID, total int64, status string) {
	e.list = append(e.list, provider.ERPOrder{ID: id, ExternalID: order, Currency: "GBP", Total: total, Status: status})
}

func newOffice(t *testing.T) *office {
	o := &office{world: newWorld(t), b2b: pgtest.Owner(t, pgtest.Open(t, os.DirFS("../../workflows/b2b")))}
	// What these tests do, only the owner can.
	o.exec(o.b2b, `alter table decisions disable trigger decisions_append_only`)
	o.exec(o.b2b, `alter table orders disable trigger orders_frozen`)
	o.flush()
	return o
}

func (o *office) reset() {
	o.world.reset()
	for _, table := range []string{"decisions", "gates", "orders", "companies", "outbox"} {
		o.exec(o.b2b, `delete from `+table)
	}
	o.erp.list = nil
	o.exec(o.b2b, `insert into companies (id, name, currency, credit_limit, held, exposure, policy) values ('acme', 'ACME', 'GBP', 10000, 500, 300, '{}')`)
	o.add(completed, "completed", "used", 300, "erp_a", "approved")
	o.add(rejected, "rejected", "released", 200, "", "")
	o.add(waiting, "awaiting_approval", "held", 400, "", "open")
	o.add(stuck, "compensation_failed", "held", 100, "erp_d", "")
	o.reserve(completed, "shipped", 3)
	o.reserve(rejected, "released", 2)
	o.reserve(stuck, "held", 1)
	o.exec(o.inventory, `insert into stock_movements (sku, warehouse, delta) values ('A', 'york', 10)`)
	o.exec(o.inventory, `insert into stock (sku, warehouse, on_hand, held) values ('A', 'york', 7, 1)`)
	o.erp.add("erp_a", completed, 300, "open")
	o.erp.add("erp_b", rejected, 200, "cancelled")
	o.erp.add("erp_d", stuck, 100, "open")
	o.decide(completed, "approve")
}

func (o *office) add(id uuid.UUID, status, credit string, amount int64, erp, gate string) {
	allocations := fmt.Sprintf(`[{"sku": "A", "warehouse": "york", "quantity": %d}]`, amount/100)
	o.exec(o.b2b, `insert into orders (id, idempotency_key, request_hash, company_id, ordered_by, status, reason, lines, amount, currency,
			allow_backorder, allocations, erp_order_id, credit, cancel_asked, traceparent, submitted_at, ended_at, moved_at, version)
		values ($1::uuid, $1::text, 'h', 'acme', 'carl', $2, '{"code": "x", "message": "The ERP says no."}', '[]', $3, 'GBP',
			false, $4, $5, $6, false, '', now(), case when $2 in ('completed', 'rejected') then now() end, now() - interval '2 minutes', 1)`,
		id, status, amount, allocations, erp, credit)
	if gate != "" {
		o.exec(o.b2b, `insert into gates (id, company_id, state, need, level, opened_at, expire_at, version)
			values ($1, 'acme', $2, 1, 1, now(), now() + interval '1 hour', 1)`, id, gate)
	}
}

func (o *office) reserve(id uuid.UUID, status string, units int) {
	o.exec(o.inventory, `insert into reservations (id, status, verdict, allocations, traceparent, version) values ($1, $2, '', $3, '', 1)`,
		id, status, fmt.Sprintf(`[{"sku": "A", "warehouse": "york", "quantity": %d}]`, units))
}

// decide records decisions as b2b does; the database seals them.
func (o *office) decide(id uuid.UUID, verdicts ...string) {
	var all []decisionlog.Decision
	order := o.order(id)
	for i, verdict := range verdicts {
		d := decisionlog.Append(all, decisionlog.Decision{
			OrderID: id, Approver: fmt.Sprint("approver-", i), OnBehalfOf: fmt.Sprint("approver-", i), Verdict: verdict, Reason: "why",
			OrderHash: order.Hash(), Source: "api", DecidedAt: time.Now().Truncate(time.Microsecond),
		})
		all = append(all, d)
		o.record(d)
	}
}

// record adds a row; the database seals it.
func (o *office) record(d decisionlog.Decision) {
	o.exec(o.b2b, `insert into decisions (order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.OrderID, d.Seq, d.Approver, d.OnBehalfOf, d.Verdict, d.Reason, d.OrderHash, d.Source, d.DecidedAt, d.PrevHash, d.Hash)
}

// order is what approvers decide on.
func (o *office) order(id uuid.UUID) *decisionlog.Order {
	o.flush()
	order := decisionlog.Order{ID: id}
	err := o.b2b.QueryRow(context.Background(), `
		select company_id, ordered_by, currency, amount, allow_backorder, lines from orders where id = $1`, id).
		Scan(&order.CompanyID, &order.OrderedBy, &order.Currency, &order.Amount, &order.AllowBackorder, &order.Lines)
	if err != nil {
		o.t.Fatal(err)
	}
	return &order
}

// rewrite replaces the decision on an order by one that fits its own hashes, past
// every trigger, as somebody could who has the whole database but not its key.
func (o *office) rewrite(id uuid.UUID, change func(*decisionlog.Decision), mac any) {
	d := decisionlog.Decision{
		OrderID: id, Approver: "approver-0", OnBehalfOf: "approver-0", Verdict: "approve", Reason: "why",
		OrderHash: o.order(id).Hash(), Source: "api", DecidedAt: time.Now().Truncate(time.Microsecond),
	}
	change(&d)
	d = decisionlog.Append(nil, d)
	o.exec(o.b2b, `update decisions set approver = $2, reason = $3, order_hash = $4, decided_at = $5, hash = $6, mac = coalesce($7, mac)
		where order_id = $1`, id, d.Approver, d.Reason, d.OrderHash, d.DecidedAt, d.Hash, mac)
}

func (o *office) sources() Sources {
	src := o.world.sources()
	src.Databases["b2b"], src.ERP = o.auditor(o.b2b), &o.erp
	return src
}

// Decisions from before there were seals and hashes of orders do not count as forged.
func TestOldDecisionsAreNoFault(t *testing.T) {
	o := newOffice(t)
	o.reset()
	old := decisionlog.Append(nil, decisionlog.Decision{
		OrderID: completed, Approver: "a", OnBehalfOf: "a", Verdict: "approve", OrderHash: "h", Source: "api",
		DecidedAt: time.Now().Add(-time.Hour).Truncate(time.Microsecond),
	})
	o.exec(o.b2b, `delete from decisions`)
	o.record(old)
	o.exec(o.b2b, `update decisions set mac = null, recorded_at = null`)
	if report := o.verify(o.sources()); !report.OK() {
		t.Error(report.String())
	}
	o.exec(o.b2b, `update orders set request_hash = 'other' where id = $1`, completed)
	if report := o.verify(o.sources()); report.OK() {
		t.Error("a decision on another request passes")
	}
}

func TestRunWithCompanies(t *testing.T) {
	o := newOffice(t)
	t.Run("books that agree", func(t *testing.T) {
		o.t = t
		o.reset()
		report := o.verify(o.sources())
		if !report.OK() {
			t.Errorf("good books were found at fault:\n%s", report.String())
		}
		if len(report.Waiting) != 2 {
			t.Errorf("waiting are %v, want the one for its approval and the one for an operator", report.Waiting)
		}
	})
	t.Run("every fault is found", func(t *testing.T) { testEveryCompanyFaultIsFound(t, o) })
}

func testEveryCompanyFaultIsFound(t *testing.T, o *office) {
	set := func(id uuid.UUID, change string) func() {
		return func() { o.exec(o.b2b, `update orders set `+change+` where id = $1`, id) }
	}
	for _, c := range []struct {
		name  string
		spoil func()
		check string
		id    string
	}{
		{"credit stays held", func() { o.exec(o.b2b, `update companies set held = held + 1`) },
			"credit = held and used by orders", "acme"},
		{"use is forgotten", func() { o.exec(o.b2b, `update companies set exposure = 0`) },
			"credit = held and used by orders", "acme"},
		{"over the limit", func() {
			o.exec(o.b2b, `alter table companies drop constraint if exists within_limit`)
			o.exec(o.b2b, `update companies set credit_limit = 700`)
		}, "credit within the limit", "acme"},
		{"a completed order holds credit", set(completed, `credit = 'held'`), "credit follows the company's order", completed.String()},
		{"a rejected order holds credit", set(rejected, `credit = 'held'`), "credit follows the company's order", rejected.String()},
		{"an unknown status", set(rejected, `status = 'lost'`), "credit follows the company's order", rejected.String()},
		{"a completed order is not shipped", func() {
			o.exec(o.inventory, `update reservations set status = 'held' where id = $1`, completed)
		}, "company stock follows the order", completed.String()},
		{"a rejected order keeps stock", func() {
			o.exec(o.inventory, `update reservations set status = 'held' where id = $1`, rejected)
		}, "company stock follows the order", rejected.String()},
		{"too much is shipped", func() {
			o.exec(o.inventory, `update reservations set allocations = '[{"sku": "A", "warehouse": "york", "quantity": 4}]' where id = $1`, completed)
		}, "company stock follows the order", completed.String()},
		{"stock for nobody", func() { o.reserve(stranger, "released", 1) }, "every reservation has its order", stranger.String()},
		{"ordered twice", func() { o.erp.add("erp_x", completed, 300, "open") },
			"one ERP order if completed, none open if not", completed.String()},
		{"never ordered", func() { o.erp.list = o.erp.list[1:] },
			"one ERP order if completed, none open if not", completed.String()},
		{"cancelled at the ERP", func() { o.erp.list[0].Status = "cancelled" },
			"one ERP order if completed, none open if not", completed.String()},
		{"rejected and ordered", func() { o.erp.list[1].Status = "open" },
			"one ERP order if completed, none open if not", rejected.String()},
		{"another total", func() { o.erp.list[0].Total = 301 },
			"one ERP order if completed, none open if not", completed.String()},
		{"another currency", func() { o.erp.list[0].Currency = "EUR" },
			"one ERP order if completed, none open if not", completed.String()},
		{"another ERP order", set(completed, `erp_order_id = 'erp_x'`),
			"one ERP order if completed, none open if not", completed.String()},
		{"an ERP order for nobody", func() { o.erp.add("erp_x", stranger, 300, "open") },
			"no ERP order without an order", stranger.String()},
		{"a decision changed", func() { o.exec(o.b2b, `update decisions set reason = 'because'`) },
			"approvals are whole and as the policy wants", completed.String()},
		{"the lines are changed after approval", set(completed, `lines = '[{"sku": "B", "quantity": 3, "unit_price": 100}]'`),
			"approvals are whole and as the policy wants", completed.String()},
		{"the amount is changed after approval", set(completed, `amount = amount + 1, credit_amount = amount`),
			"approvals are whole and as the policy wants", completed.String()},
		{"who ordered is changed after approval", set(completed, `ordered_by = 'mallory'`),
			"approvals are whole and as the policy wants", completed.String()},
		{"a decision is rewritten, with its hashes", func() {
			o.rewrite(completed, func(d *decisionlog.Decision) { d.Reason = "because" }, nil)
		}, "approvals are whole and as the policy wants", completed.String()},
		{"a decision is rewritten, with a seal made up", func() {
			o.rewrite(completed, func(d *decisionlog.Decision) { d.Approver = "mallory" }, strings.Repeat("0", 64))
		}, "approvals are whole and as the policy wants", completed.String()},
		{"a decision is rewritten as one from before there were seals", func() {
			o.rewrite(completed, func(d *decisionlog.Decision) { d.OrderHash = "h" }, "")
			o.exec(o.b2b, `update decisions set mac = null, recorded_at = null`)
		}, "approvals are whole and as the policy wants", completed.String()},
		{"a decision is put in from another time", func() {
			o.exec(o.b2b, `delete from decisions`)
			o.record(decisionlog.Append(nil, decisionlog.Decision{
				OrderID: completed, Approver: "a", OnBehalfOf: "a", Verdict: "approve", OrderHash: o.order(completed).Hash(),
				Source: "api", DecidedAt: time.Now().Add(-time.Hour).Truncate(time.Microsecond),
			}))
		}, "approvals are whole and as the policy wants", completed.String()},
		{"a decision is gone", func() { o.exec(o.b2b, `delete from decisions`) },
			"approvals are whole and as the policy wants", completed.String()},
		{"completed against a rejection", func() { o.exec(o.b2b, `update gates set state = 'rejected' where id = $1`, completed) },
			"approvals are whole and as the policy wants", completed.String()},
		{"completed without its approval", func() { o.exec(o.b2b, `update gates set state = 'open' where id = $1`, completed) },
			"approvals are whole and as the policy wants", completed.String()},
		{"a rejection is passed over", func() { o.decide(waiting, "reject") },
			"approvals are whole and as the policy wants", waiting.String()},
		{"an approval is passed over", func() { o.decide(waiting, "approve") },
			"approvals are whole and as the policy wants", waiting.String()},
		{"nobody acts on the decision", func() { o.exec(o.b2b, `update gates set state = 'expired' where id = $1`, waiting) },
			"no company order is forgotten", waiting.String()},
		{"nobody acts on the expiry", func() {
			o.exec(o.b2b, `update gates set expire_at = now() - interval '2 minutes' where id = $1`, waiting)
		}, "no company order is forgotten", waiting.String()},
		{"nobody undoes", set(stuck, `status = 'undoing'`), "no company order is forgotten", stuck.String()},
		{"an event is not published", func() {
			o.exec(o.b2b, `insert into outbox (id, topic, key, payload, leased_until) values ($1, 'b2b.order.completed', 'k', '', now())`, stranger)
		}, "every event is published", "b2b " + stranger.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.t = t
			o.reset()
			c.spoil()
			report := o.verify(o.sources())
			if found := broken(report); !slices.Contains(found[c.check], c.id) {
				t.Errorf("%q did not name %s; the report is\n%s", c.check, c.id, report.String())
			}
		})
	}
}
