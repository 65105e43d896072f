package audit_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/inventory"
	"quadrille.internal/services/inventory/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	allocations = `[{"sku": "A", "warehouse": "leeds", "quantity": 2}, {"sku": "B", "warehouse": "york", "quantity": 3}]`
	insert      = `insert into reservations (id, status, verdict, allocations, traceparent, reserved_at, expires_at, expired_at, ended_at, version)
		values ($1, $2, '', $3, '', $4, $5, null, null, 1)`
)

func open(t *testing.T) *pgxpool.Pool {
	spec := inventory.Service()
	return pgtest.Open(t, spec.Migrations, spec.Grants)
}

func TestReservations(t *testing.T) {
	pool, held, unknown := open(t), uuid.UUID{15: 1}, uuid.UUID{15: 2}
	servicetest.Exec(t, pool, insert, held, "held", allocations, at, at)
	servicetest.Exec(t, pool, insert, unknown, "unknown", "null", nil, nil)
	servicetest.Exec(t, pool, `update reservations set expired_at = $2 where id = $1`, held, at)
	rows, err := audit.Reservations(t.Context(), pgtest.Auditor(t, pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if r := rows.Take(held); r == nil || r.Status != "held" || r.Units != 5 || r.ExpiredAt == nil || !r.ExpiredAt.Equal(at) {
		t.Errorf("the first is %+v", r)
	}
	if r := rows.Take(unknown); r == nil || r.Status != "unknown" || r.Units != 0 || r.ExpiredAt != nil || rows.Err() != nil {
		t.Errorf("the second is %+v, %v", r, rows.Err())
	}
}

func TestStocks(t *testing.T) {
	pool := open(t)
	servicetest.Exec(t, pool, `insert into stock_movements (sku, warehouse, delta) values ('A', 'leeds', 10), ('A', 'leeds', -1), ('C', 'leeds', 1)`)
	servicetest.Exec(t, pool, `insert into stock (sku, warehouse, on_hand, held) values ('A', 'leeds', 7, 2)`)
	servicetest.Exec(t, pool, insert, uuid.New(), "held", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "shipped", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "released", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "refused", "null", at, at)
	var got []audit.Stock
	if err := audit.Stocks(t.Context(), pgtest.Auditor(t, pool), func(s audit.Stock) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	want := []audit.Stock{
		{SKU: "A", Warehouse: "leeds", OnHand: 7, Moved: 9, Shipped: 2, Held: 2, HeldByOrders: 2},
		{SKU: "B", Warehouse: "york", Shipped: 3, HeldByOrders: 3},
		{SKU: "C", Warehouse: "leeds", Moved: 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("stock is\n%+v, want\n%+v", got, want)
	}
}

func TestStory(t *testing.T) {
	pool, id := open(t), uuid.New()
	servicetest.Exec(t, pool, insert, id, "held", allocations, at, at.Add(time.Minute))
	servicetest.CheckBooks(t, pool, audit.Books, id, "reserved")
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
	s := servicetest.Story(t, pool, audit.Books, id)
	if want := "2 A in leeds, 3 B in york, until " + at.Add(time.Minute).Local().Format("15:04:05"); s.Status != "held" || s.Moments[0].Detail != want {
		t.Errorf("it is %s, and reserved were %q, want %q", s.Status, s.Moments[0].Detail, want)
	}
	servicetest.Exec(t, pool, `update reservations set expired_at = $1`, at.Add(time.Minute))
	servicetest.CheckBooks(t, pool, audit.Books, id, "reserved", "reservation expired")
	for status, what := range map[string]string{"shipped": "shipped", "released": "released", "refused": "refused"} {
		servicetest.Exec(t, pool, `update reservations set status = $1, ended_at = $2`, status, at.Add(time.Hour))
		servicetest.CheckBooks(t, pool, audit.Books, id, "reserved", "reservation expired", what)
	}
}

func TestBusy(t *testing.T) {
	pool := open(t)
	servicetest.Exec(t, pool, insert, uuid.New(), "released", "null", at, at)
	auditor := pgtest.Auditor(t, pool)
	for status, want := range map[string]bool{"held": true, "unknown": true, "shipped": false, "refused": false} {
		servicetest.Exec(t, pool, `update reservations set status = $1`, status)
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != want {
			t.Errorf("with a reservation that is %s, busy is %v, %v", status, busy, err)
		}
	}
}

func TestProgress(t *testing.T) {
	pool := open(t)
	servicetest.Exec(t, pool, insert, uuid.New(), "held", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "shipped", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "released", allocations, at, at)
	servicetest.Exec(t, pool, insert, uuid.New(), "unknown", "null", at, at)
	servicetest.CheckProgress(t, pool, audit.Progress, 2, 1)
	servicetest.Exec(t, pool, `insert into stock (sku, warehouse, on_hand, held) values ('A', 'leeds', 7, 2), ('A', 'york', 3, 0), ('B', 'york', 1, 0)`)
	auditor := pgtest.Auditor(t, pool)
	if sold, err := audit.Sold(t.Context(), auditor, uuid.Nil.String()); err != nil || !maps.Equal(sold, map[string]int64{"A": 4, "B": 6}) {
		t.Errorf("sold are %v, %v", sold, err)
	}
	if units, err := audit.OnSale(t.Context(), auditor, "A"); err != nil || !maps.Equal(units, map[string]int64{"A": 8}) {
		t.Errorf("on sale are %v, %v", units, err)
	}
}

func TestLevels(t *testing.T) {
	pool := open(t)
	servicetest.Exec(t, pool, `insert into stock_levels (key, version, deleted, value) values
		('A', 2, false, '{"available": 3}'), ('B', 5, false, '{"available": 0}'), ('C', 0, true, null)`)
	var got []audit.Level
	if err := audit.Levels(t.Context(), pgtest.Auditor(t, pool), func(l audit.Level) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	if want := []audit.Level{{"A", 2, true}, {"B", 5, false}}; !slices.Equal(got, want) {
		t.Errorf("levels are %v, want %v", got, want)
	}
}
