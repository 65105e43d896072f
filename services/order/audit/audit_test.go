package audit_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	kit "quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/order"
	"quadrille.internal/services/order/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// place adds an order to a new database.
func place(t *testing.T) (*pgxpool.Pool, uuid.UUID) {
	t.Helper()
	spec, id := order.Service(), uuid.New()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	servicetest.Exec(t, pool, `insert into orders (id, status, lines, amount, currency, traceparent, placed_at, version)
		values ($1, 'pending', '[{"sku": "A", "quantity": 2, "unit_price": 50}, {"sku": "B", "quantity": 3, "unit_price": 50}]', 250, 'GBP', 'tp', $2, 1)`, id, at)
	return pool, id
}

func TestOrders(t *testing.T) {
	pool, id := place(t)
	known := uuid.UUID{15: 1} // by its payment only
	servicetest.Exec(t, pool, `insert into orders (id, status, amount, currency, traceparent, version) values ($1, 'pending', 0, '', '', 1)`, known)
	rows, err := audit.Orders(t.Context(), pgtest.Auditor(t, pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if o := rows.Take(known); o == nil || o.PlacedAt != nil || o.Units != 0 {
		t.Errorf("the first is %+v", o)
	}
	if o := rows.Take(id); o == nil || o.Status != "pending" || o.Amount != 250 || o.Currency != "GBP" || o.Units != 5 || o.PlacedAt == nil || rows.Err() != nil {
		t.Errorf("the second is %+v, %v", o, rows.Err())
	}
}

func TestStory(t *testing.T) {
	pool, id := place(t)
	for _, c := range []struct {
		change   string
		waits    kit.Wait
		happened []string
	}{
		{`placed_at = null`, kit.Wait{What: "the order service to hear of it"}, nil},
		{`placed_at = '2026-01-02'`, kit.Wait{What: "stock"}, nil},
		{`reserved_at = '2026-01-02'`, kit.Wait{What: "the payment service to hear of it", On: "payment"}, nil},
		{`cancel_asked_at = '2026-01-03', settled_at = '2026-01-04', status = 'cancelled', reason = '{"code": "x", "message": "No."}'`,
			kit.Wait{}, []string{"customer asks to cancel", "CANCELLED"}},
	} {
		servicetest.Exec(t, pool, `update orders set `+c.change)
		servicetest.CheckBooks(t, pool, audit.Books, id, c.happened...)
		if s := servicetest.Story(t, pool, audit.Books, id); s.Waits != c.waits || s.Trace != "tp" {
			t.Errorf("%s: the story is %+v, want that it waits for %+v", c.change, s, c.waits)
		}
	}
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
	s := servicetest.Story(t, pool, audit.Books, id)
	if m := s.Moments[1]; s.Status != "cancelled" || s.Reason == nil || m.Detail != "No." || !m.Bad {
		t.Errorf("the story of a cancelled order is %+v", s)
	}
}

// What is charged is what the order says it costs, part by part.
func TestTotals(t *testing.T) {
	pool, id := place(t)
	for _, c := range []struct{ change, want string }{
		{`version = 2`, ""},
		{`amount = 251`, "the total is 251, lines come to 250, adjustments to 0, shipping to 0, tax to 0"},
		{`amount = 345, shipping = 99, tax = 46, adjustments = '[{"name": "A", "amount": -30, "line": 1}, {"name": "B", "amount": -20, "line": 0}]'`, ""},
		{`tax = 45`, "the total is 345, lines come to 250, adjustments to -50, shipping to 99, tax to 45"},
		{`tax = 46, adjustments = null`, "the total is 345, lines come to 250, adjustments to 0, shipping to 99, tax to 46"},
		{`placed_at = null`, ""}, // of such, only facts are known
	} {
		servicetest.Exec(t, pool, `update orders set `+c.change)
		checks, err := audit.Books.Check(t.Context(), pgtest.Auditor(t, pool))
		if err != nil || len(checks) != 1 {
			t.Fatalf("%s: %+v, %v", c.change, checks, err)
		}
		var want []kit.Fault
		if c.want != "" {
			want = []kit.Fault{{ID: id.String(), Problem: c.want}}
		}
		if !slices.Equal(checks[0].Faults, want) {
			t.Errorf("%s: %+v, want %+v", c.change, checks[0].Faults, want)
		}
	}
}

func TestBusy(t *testing.T) {
	pool, _ := place(t)
	auditor := pgtest.Auditor(t, pool)
	for _, c := range []struct {
		change string
		want   bool
	}{
		{`version = 2`, true},
		{`placed_at = null`, false},
		{`placed_at = now(), settled_at = now(), status = 'cancelled', reason = '{}'`, false},
	} {
		servicetest.Exec(t, pool, `update orders set `+c.change)
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != c.want {
			t.Errorf("%s: busy is %v, %v", c.change, busy, err)
		}
	}
}

func TestProgress(t *testing.T) {
	pool, id := place(t)
	servicetest.Exec(t, pool, `update orders set customer_id = 'c1'`)
	servicetest.CheckProgress(t, pool, audit.Progress, 0, 1)
	auditor := pgtest.Auditor(t, pool)
	ids := []uuid.UUID{id, uuid.New()}
	if ends, err := audit.Ends(t.Context(), auditor, ids); err != nil || len(ends) > 0 {
		t.Errorf("before they end: %+v, %v", ends, err)
	}
	want := map[string]int{"inventory": 1, "checkout": 1} // of the other, nobody has heard
	if waiting, err := audit.Waiting(t.Context(), auditor, ids); err != nil || !maps.Equal(waiting, want) {
		t.Errorf("they wait for %v, %v, want %v", waiting, err, want)
	}
	servicetest.Exec(t, pool, `update orders set status = 'cancelled', reason = '{"code": "x", "message": "No."}', settled_at = placed_at + interval '2 s'`)
	servicetest.CheckProgress(t, pool, audit.Progress, 0, 0)
	ends, err := audit.Ends(t.Context(), auditor, ids)
	if err != nil || !slices.Equal(ends, []audit.End{{ID: id, Status: "cancelled", Code: "x", Took: 2 * time.Second}}) {
		t.Errorf("they ended as %+v, %v", ends, err)
	}
}
