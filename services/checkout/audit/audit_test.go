package audit_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	kit "quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/checkout"
	"quadrille.internal/services/checkout/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// place adds a checkout to a new database.
func place(t *testing.T) (*pgxpool.Pool, uuid.UUID) {
	t.Helper()
	spec, id := checkout.Service(), uuid.New()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	servicetest.Exec(t, pool, `insert into checkouts (id, idempotency_key, request_hash, customer_id, lines, amount, currency, traceparent, status, placed_at, version)
		values ($1, 'k', '', 'c1', '[{"sku": "A", "quantity": 2, "unit_price": 125}]', 250, 'GBP',
			'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'placed', $2, 1)`, id, at)
	return pool, id
}

func TestCheckouts(t *testing.T) {
	pool, id := place(t)
	rows, err := audit.Checkouts(t.Context(), pgtest.Auditor(t, pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := rows.Take(id)
	if got == nil || rows.Head() != nil || rows.Err() != nil {
		t.Fatalf("read %+v, then %v, %v", got, rows.Head(), rows.Err())
	}
	got.PlacedAt = got.PlacedAt.UTC()
	if want := (audit.Checkout{ID: id, Status: "placed", Amount: 250, Currency: "GBP", PlacedAt: at}); *got != want {
		t.Errorf("read %+v, want %+v", *got, want)
	}
}

func TestStory(t *testing.T) {
	pool, id := place(t)
	servicetest.CheckBooks(t, pool, audit.Books, id, "accepted")
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
	s := servicetest.Story(t, pool, audit.Books, id)
	if s.Status != "placed" || s.Customer != "c1" || s.Total != (events.Money{Amount: 250, Currency: "GBP"}) ||
		!reflect.DeepEqual(s.Lines, []events.Line{{SKU: "A", Quantity: 2, UnitPrice: 125}}) || s.Trace == "" {
		t.Errorf("the story is %+v", s)
	}
	if d := s.Moments[0].Detail; d != "1 line for 2.50 GBP" {
		t.Errorf("it was accepted: %q", d)
	}
	servicetest.Exec(t, pool, `update checkouts set status = 'cancelled', settled_at = now(), reason = '{"code": "x", "message": "No."}'`)
	servicetest.CheckBooks(t, pool, audit.Books, id, "accepted", "told cancelled")
	if m := servicetest.Story(t, pool, audit.Books, id).Moments[1]; m.Detail != "No." || !m.Bad {
		t.Errorf("the customer was told %+v", m)
	}
}

// What an order costs is what its quote says, part by part.
func TestTotals(t *testing.T) {
	pool, id := place(t)
	const quote = `{"total": 345, "shipping": 99, "tax": 46, "voucher": "SPRING10", "adjustments": [{"name": "A", "amount": -50}],
		"lines": [{"sku": "A", "adjustments": [{"name": "A", "amount": -30}, {"name": "A", "amount": -20}]}, {"sku": "B"}]}`
	for _, c := range []struct{ change, want string }{
		{`version = 2`, ""},
		{`amount = 251`, "the total is 251, lines come to 250, adjustments to 0, shipping to 0, tax to 0; the quote says nothing"},
		{`amount = 345, quote = '` + quote + `'`, ""},
		{`amount = 346, lines = '[{"sku": "A", "quantity": 1, "unit_price": 251}]'`, "the total is 346, lines come to 251, adjustments to -50, shipping to 99, tax to 46; the quote says 345"},
		{`amount = 345`, "the total is 345, lines come to 251, adjustments to -50, shipping to 99, tax to 46; the quote says 345"},
	} {
		servicetest.Exec(t, pool, `update checkouts set `+c.change)
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
	story := servicetest.Story(t, pool, audit.Books, id)
	if d := story.Moments[0].Detail; d != "1 line for 3.45 GBP, by quote, with voucher SPRING10" {
		t.Errorf("it was accepted: %q", d)
	}
	if want := (events.Extras{Adjustments: []events.Adjustment{{Name: "A", Amount: -50}}, Shipping: 99, Tax: 46}); !reflect.DeepEqual(story.Extras, want) {
		t.Errorf("beside its lines it costs %+v, want %+v", story.Extras, want)
	}
}

func TestBusy(t *testing.T) {
	pool, _ := place(t)
	auditor := pgtest.Auditor(t, pool)
	for _, want := range []bool{true, false} {
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != want {
			t.Errorf("busy is %v, %v, want %v", busy, err, want)
		}
		servicetest.Exec(t, pool, `update checkouts set status = 'confirmed'`)
	}
}

func TestProgress(t *testing.T) {
	pool, _ := place(t)
	servicetest.CheckProgress(t, pool, audit.Progress, 1, 1)
	servicetest.Exec(t, pool, `update checkouts set status = 'confirmed'`)
	servicetest.CheckProgress(t, pool, audit.Progress, 0, 0)
}
