package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	service "quadrille.internal/services/price"
	"quadrille.internal/services/price/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	at    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	order = uuid.UUID{15: 1}
)

func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	spec := service.Service()
	pool := pgtest.Open(t, spec.Migrations)
	for _, sql := range []string{
		`update book set revision = 2`,
		`insert into revisions (id, made_at, what) values (1, now(), 'first'), (2, now(), 'second')`,
		`insert into documents (kind, name, since, body) values ('list', 'base', 1, '{"group": "", "currency": "GBP", "valid_from": "2025-01-01T00:00:00Z"}')`,
		`insert into prices (sku, list, min_quantity, since, until, amount) values ('TEA', 'base', 1, 1, 2, 500)`,
		`insert into prices (sku, list, min_quantity, since, amount) values ('TEA', 'base', 1, 2, 600)`,
		`insert into vouchers (code, max_uses, held, redeemed) values ('TEN', 2, 1, 1)`,
	} {
		servicetest.Exec(t, pool, sql)
	}
	servicetest.Exec(t, pool, `
		insert into voucher_uses (order_id, code, quote_id, status, held_at, ask_at, ended_at)
		values ($1, 'TEN', $1, 'redeemed', $3, $3, $4), ($2, 'TEN', $2, 'held', $3, $3, null)`, order, uuid.UUID{15: 2}, at, at.Add(time.Second))
	return pool
}

// faults returns what breaks the rules, "rule: id".
func faults(t *testing.T, pool *pgxpool.Pool) (found []string) {
	t.Helper()
	checks, err := audit.Books.Check(t.Context(), pgtest.Auditor(t, pool))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range checks {
		for _, f := range c.Faults {
			found = append(found, string(rune('0'+i))+" "+f.ID)
		}
	}
	return found
}

func TestRulesFindFaults(t *testing.T) {
	pool := open(t)
	if found := faults(t, pool); len(found) > 0 {
		t.Fatalf("nothing is wrong, and found is %q", found)
	}
	for sql, want := range map[string]string{
		`update vouchers set held = 0`:                                                              "0 TEN",
		`update vouchers set redeemed = 0`:                                                          "0 TEN",
		`update voucher_uses set status = 'cancelled', ended_at = now()`:                            "0 TEN",
		`delete from voucher_uses`:                                                                  "0 TEN",
		`delete from revisions where id = 1`:                                                        "2 1",
		`insert into documents (kind, name, since, body) values ('tax', 'x', 9, '{}')`:              "2 tax x",
		`insert into prices (sku, list, min_quantity, since, amount) values ('A', 'base', 1, 9, 1)`: "2 A in base",
	} {
		other := open(t)
		servicetest.Exec(t, other, sql)
		if found := faults(t, other); !slices.Contains(found, want) {
			t.Errorf("%s: found %q, want %s", sql, found, want)
		}
	}
	if _, err := pgtest.Admin(t, pool).Exec(t.Context(), `alter table vouchers drop constraint vouchers_not_overdrawn`); err != nil {
		t.Fatal(err)
	}
	servicetest.Exec(t, pool, `update vouchers set max_uses = 1`)
	if found := faults(t, pool); !slices.Equal(found, []string{"1 TEN"}) {
		t.Errorf("of a voucher that is overdrawn found is %q", found)
	}
}

func TestStoryAndBusy(t *testing.T) {
	pool := open(t)
	servicetest.CheckBooks(t, pool, audit.Books, order, "voucher held", "voucher redeemed")
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
	auditor := pgtest.Auditor(t, pool)
	for sql, want := range map[string]bool{
		`update voucher_uses set status = 'cancelled', ended_at = now()`: false,
		`insert into public_prices_changes (key) values ('TEA')`:         true,
	} {
		servicetest.Exec(t, pool, `delete from public_prices_changes`)
		servicetest.Exec(t, pool, sql)
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != want {
			t.Errorf("%s: busy is %v, %v", sql, busy, err)
		}
	}
}

func TestTotalsAreComputedAgain(t *testing.T) {
	r := audit.NewRecomputer(pgtest.Auditor(t, open(t)))
	quote := func(version, total int64) *price.Quote {
		return &price.Quote{
			Version: version, Currency: "GBP", IssuedAt: at, Total: total,
			Lines: []price.Line{{SKU: "TEA", Quantity: 1, ListPrice: total, UnitPrice: total, Total: total}},
		}
	}
	relabelled := quote(1, 500)
	relabelled.Lines[0].ListPrice = 600
	unsold := quote(1, 500)
	unsold.Currency = "EUR"
	for name, c := range map[string]struct {
		quote *price.Quote
		want  string // part of the problem
	}{
		"as it was":        {quote(1, 500), ""},
		"as it is":         {quote(2, 600), ""},
		"of the other":     {quote(2, 500), "it costs 500, but by the price book 600"},
		"another list":     {relabelled, "its lines"},
		"no such revision": {quote(3, 600), "no revision 3"},
		"not sold":         {unsold, "cannot be bought"},
	} {
		problem, err := r.Check(t.Context(), c.quote)
		if err != nil || c.want == "" && problem != "" || !strings.Contains(problem, c.want) {
			t.Errorf("%s: %q, %v, want %q", name, problem, err, c.want)
		}
	}
	old := open(t)
	servicetest.Exec(t, old, `update revisions set made_at = $1 where id = 2`, at.Add(-time.Hour))
	r = audit.NewRecomputer(pgtest.Auditor(t, old))
	if problem, err := r.Check(t.Context(), quote(1, 500)); err != nil || !strings.Contains(problem, "replaced 1h0m0s before") {
		t.Errorf("a price that was an hour out of date: %q, %v", problem, err)
	}
	if problem, err := r.Check(t.Context(), quote(2, 600)); err != nil || problem != "" {
		t.Errorf("the present price: %q, %v", problem, err)
	}
}
