package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b"
	"quadrille.internal/workflows/b2b/audit"
	"quadrille.internal/workflows/b2b/decisionlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var decided, plain = uuid.UUID{15: 1}, uuid.UUID{15: 2}

// open returns a new database with an order that waits for its second approval and one
// that needs none.
func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	spec := b2b.Service()
	pool := pgtest.Owner(t, pgtest.Open(t, spec.Migrations, spec.Grants))
	servicetest.Exec(t, pool, `insert into companies (id, name, currency, credit_limit, held, exposure, policy)
		values ('acme', 'ACME', 'GBP', 1000, 400, 300, '{}'), ('idle', 'Idle', 'GBP', 5, 0, 0, '{}')`)
	insert := `insert into orders (id, idempotency_key, request_hash, company_id, ordered_by, status, reason, lines, amount, currency,
			allow_backorder, allocations, erp_order_id, credit, credit_amount, cancel_asked, traceparent, submitted_at, ended_at, moved_at, version)
		values ($1, $2, 'h', 'acme', 'carl', $3, $4, '[{"sku": "A", "quantity": 4, "unit_price": 100}]', $5, 'GBP',
			true, $6, $7, $8, $9, false, '', now(), $10, '2026-01-02Z', 1)`
	servicetest.Exec(t, pool, insert, decided, "k1", "awaiting_approval", nil, 400, nil, "", "held", nil, nil)
	servicetest.Exec(t, pool, insert, plain, "k2", "completed", `{"code": "x", "message": "So."}`, 301,
		`[{"sku": "A", "warehouse": "york", "quantity": 4}]`, "erp_1", "used", 300, time.Now())
	servicetest.Exec(t, pool, `insert into gates (id, company_id, state, need, level, opened_at, expire_at, version)
		values ($1, 'acme', 'open', 2, 1, now(), now() + interval '1 hour', 1)`, decided)
	d := decisionlog.Append(nil, decisionlog.Decision{
		OrderID: decided, Approver: "ann", OnBehalfOf: "bob", Verdict: "approve", Reason: "why", OrderHash: "oh", Source: "api",
		DecidedAt: time.Now().Truncate(time.Microsecond),
	})
	servicetest.Exec(t, pool, `insert into decisions (order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.OrderID, d.Seq, d.Approver, d.OnBehalfOf, d.Verdict, d.Reason, d.OrderHash, d.Source, d.DecidedAt, d.PrevHash, d.Hash)
	return pool
}

func TestOrders(t *testing.T) {
	rows, err := audit.Orders(t.Context(), pgtest.Auditor(t, open(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	o := rows.Take(decided)
	if o == nil || o.Status != "awaiting_approval" || o.Credit != "held" || o.Ended || o.Gate != "open" || o.Need != 2 || o.ExpireAt == nil ||
		o.CompanyID != "acme" || o.OrderedBy != "carl" || o.Amount != 400 || o.Currency != "GBP" || !o.AllowBackorder || len(o.Lines) != 1 || o.RequestHash != "h" {
		t.Fatalf("the first is %+v", o)
	}
	// Every column of a decision counts in its hashes and in the seal of the database.
	key := decisionlog.Key{InnerPad: o.InnerPad, OuterPad: o.OuterPad, Since: o.KeySince}
	if len(o.Decisions) != 1 || decisionlog.Check(o.Decisions) != nil || key.CheckMACs(o.Decisions) != nil || o.Decisions[0].MAC == "" {
		t.Errorf("its decisions are %+v: %v, %v", o.Decisions, decisionlog.Check(o.Decisions), key.CheckMACs(o.Decisions))
	}
	o = rows.Take(plain)
	if o == nil || o.Reason != "So." || o.Credit != "used" || o.ERPOrderID != "erp_1" || o.Units != 4 || !o.Ended || !o.MovedAt.Equal(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)) ||
		o.Gate != "" || o.Need != 0 || o.ExpireAt != nil || len(o.Decisions) != 0 || rows.Err() != nil {
		t.Errorf("the second is %+v, %v", o, rows.Err())
	}
}

func TestCredits(t *testing.T) {
	var got []audit.Credit
	if err := audit.Credits(t.Context(), pgtest.Auditor(t, open(t)), func(c audit.Credit) { got = append(got, c) }); err != nil {
		t.Fatal(err)
	}
	want := []audit.Credit{
		{Company: "acme", Limit: 1000, Held: 400, Used: 300, HeldByOrders: 400, UsedByOrders: 300},
		{Company: "idle", Limit: 5},
	}
	if !slices.Equal(got, want) {
		t.Errorf("credit is %+v, want %+v", got, want)
	}
}

func TestBusy(t *testing.T) {
	pool := open(t)
	auditor := pgtest.Auditor(t, pool)
	servicetest.CheckBooks(t, pool, audit.Books, decided)
	for _, c := range []struct {
		name, change string
		want         bool
	}{
		{"an open gate waits for a person", `select 1`, false},
		{"a gate that was decided", `update gates set state = 'approved'`, true},
		{"a compensation that failed waits for a person", `update orders set status = 'compensation_failed' where ended_at is null`, false},
	} {
		servicetest.Exec(t, pool, c.change)
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != c.want {
			t.Errorf("%s: busy is %v, %v", c.name, busy, err)
		}
	}
}

func TestProgress(t *testing.T) {
	pool := open(t)
	servicetest.CheckProgress(t, pool, audit.Progress, 1, 1)
	auditor := pgtest.Auditor(t, pool)
	gates, err := audit.OpenGates(t.Context(), auditor, uuid.Nil.String(), "k")
	if err != nil || !slices.Equal(gates, []audit.Gate{{ID: decided.String(), Key: "k1"}}) {
		t.Errorf("open gates are %+v, %v", gates, err)
	}
	for _, want := range []bool{false, true} {
		if escalated, err := audit.Escalated(t.Context(), auditor, decided); err != nil || escalated != want {
			t.Errorf("escalated is %v, %v, want %v", escalated, err, want)
		}
		servicetest.Exec(t, pool, `update gates set level = 2`)
	}
}
