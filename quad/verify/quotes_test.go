package verify

import (
	"os"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

// A quote is held against the price book of its time, not against that of today.
func TestQuotesAreComputedAgain(t *testing.T) {
	dbs := map[string]*pgxpool.Pool{}
	for _, service := range []string{"checkout", "price"} {
		dbs[service] = pgtest.Open(t, os.DirFS("../../services/"+service))
	}
	src := &Sources{Databases: dbs}
	exec := func(service, sql string, args ...any) {
		t.Helper()
		if _, err := dbs[service].Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("price", `update book set revision = 2`)
	exec("price", `insert into revisions (id, made_at, what) values (1, now(), ''), (2, now(), '')`)
	exec("price", `insert into documents (kind, name, since, body) values ('list', 'base', 1, '{"group": "", "currency": "GBP", "valid_from": "2025-01-01T00:00:00Z"}')`)
	exec("price", `insert into prices (sku, list, min_quantity, since, until, amount) values ('TEA', 'base', 1, 1, 2, 500), ('TEA', 'base', 1, 2, null, 600)`)
	order := func(id string, quote any) {
		t.Helper()
		exec("checkout", `insert into checkouts (id, idempotency_key, request_hash, customer_id, lines, amount, currency, traceparent, status, placed_at, version, quote)
			values ($1, $2, '', 'c', '[]', 500, 'GBP', '', 'confirmed', now(), 1, $3)`, id, id, quote)
	}
	check := func(checked int, want ...string) {
		t.Helper()
		got, err := src.quotes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, o := range got.Offenders {
			found = append(found, o.ID[35:]+": "+o.Problem)
		}
		if got.Checked != checked || !slices.Equal(found, want) {
			t.Errorf("found %q of %d, want %q of %d", found, got.Checked, want, checked)
		}
	}
	const quote = `{"version": 1, "currency": "GBP", "issued_at": "2026-01-01T00:00:00Z", "total": 500, "lines": [
		{"sku": "TEA", "quantity": 1, "list_price": 500, "unit_price": 500, "total": 500, "tax": 0}]}`
	order("00000000-0000-7000-8000-000000000001", quote)
	order("00000000-0000-7000-8000-000000000002", nil) // at prices of the caller
	check(1)
	exec("price", `update prices set amount = 490 where since = 1`)
	check(1, "1: it costs 500, but by the price book 490")
	delete(dbs, "price")
	check(0)
}
