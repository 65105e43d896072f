package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog"
	"quadrille.internal/services/catalog/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a catalog with three products, whose index agrees with it.
func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	spec := catalog.Service()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	for _, sql := range []string{
		`insert into products (id, state, title, description, categories, attributes, variants, media, published_at, version)
		values ('lamp', 'published', 'Lamp', '', '[]', '[]', '[{"sku": "L"}]', '[]', now(), 2),
			('cup', 'retired', 'Cup', '', '[]', '[]', '[{"sku": "C"}]', '[]', now(), 3),
			('draft', 'draft', 'Draft', '', '[]', '[]', '[{"sku": "D"}]', '[]', null, 1)`,
		`insert into product_skus values ('L', 'lamp'), ('C', 'cup'), ('D', 'draft')`,
		`insert into stock_view values ('L', 1, false, '{"in_stock": true}')`,
		`insert into price_view values ('L', 1, false, '{"prices": [{"currency": "GBP", "amount": 450}]}')`,
		`insert into search_indexes (name, engine, status) values ('a', 'postgres', 'retiring'), ('b', 'postgres', 'live')`,
		`insert into search_documents_b (product_id, version, deleted, revision, words, facets, title, weight, price, in_stock, published_at)
		values ('lamp', 5, false, 2, '', '{}', 'lamp', 1, 450, true, now()), ('cup', 6, true, 3, '', '{}', '', 0, null, false, null)`,
		`delete from search_changes`,
	} {
		servicetest.Exec(t, pool, sql)
	}
	return pool
}

func TestBooksThatAgree(t *testing.T) {
	if rules := servicetest.CheckBooks(t, open(t), audit.Books, uuid.New()); len(rules) != len(audit.Books.Rules) {
		t.Errorf("the rules are %q", rules)
	}
}

func TestFaultsAreFound(t *testing.T) {
	for sql, want := range map[string]string{
		`delete from search_documents_b where product_id = 'lamp'`:                 "lamp: is published, and is not found",
		`update search_documents_b set deleted = true where product_id = 'lamp'`:   "lamp: is published, and is not found",
		`update search_documents_b set revision = 1 where product_id = 'lamp'`:     "lamp: has version 2, and version 1 is found",
		`update search_documents_b set deleted = false where product_id = 'cup'`:   "cup: is retired, and is found",
		`update search_documents_b set in_stock = false where product_id = 'lamp'`: "lamp: in stock: t, but found as f",
		`update search_documents_b set price = 300 where product_id = 'lamp'`:      "lamp: the lowest prices are 450 GBP, but found as 300",
		`update search_documents_b set price = null`:                               "lamp: the lowest prices are 450 GBP, but found as none",
		`delete from price_view`: "lamp: the lowest prices are none, but found as 450",
		`update price_view set value = '{"prices": [{"currency": "GBP", "amount": 9}, {"currency": "EUR", "amount": 450}]}'`: "",
		`delete from stock_view`:                                                                  "lamp: in stock: f, but found as t",
		`delete from product_skus where sku = 'L'`:                                                "lamp: in stock: f, but found as t; lamp: the lowest prices are none, but found as 450; L: variant of lamp, listed for ",
		`insert into product_skus values ('X', 'lamp')`:                                           "X: variant of , listed for lamp",
		`delete from search_documents_b; insert into search_changes (product_id) values ('lamp')`: "",
		`delete from search_documents_b; update search_indexes set stale = true`:                  "",
		`delete from search_documents_b; update search_indexes set engine = 'opensearch'`:         "",
	} {
		pool := open(t)
		for statement := range strings.SplitSeq(sql, "; ") {
			servicetest.Exec(t, pool, statement)
		}
		servicetest.Exec(t, pool, `delete from search_changes where product_id <> 'lamp' or $1`, !strings.Contains(sql, "search_changes"))
		checks, err := audit.Books.Check(t.Context(), pgtest.Auditor(t, pool))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, c := range checks {
			for _, f := range c.Faults {
				found = append(found, f.ID+": "+f.Problem)
			}
		}
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%s\nfinds %q, want %q", sql, got, want)
		}
	}
}

func TestBusy(t *testing.T) {
	pool := open(t)
	auditor := pgtest.Auditor(t, pool)
	for _, want := range []bool{false, true} {
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != want {
			t.Errorf("busy is %v, %v", busy, err)
		}
		servicetest.Exec(t, pool, `insert into search_changes (product_id) values ('lamp')`)
	}
}

func TestCopies(t *testing.T) {
	pool := open(t)
	servicetest.Exec(t, pool, `insert into stock_view values ('M', 2, false, '{"in_stock": false}')`)
	servicetest.Exec(t, pool, `update price_view set version = 3, value = '{"prices": [{"currency": "GBP", "amount": 5}, {"currency": "EUR", "amount": 6}]}'`)
	servicetest.Exec(t, pool, `insert into price_view values ('M', 1, true, null)`)
	auditor := pgtest.Auditor(t, pool)
	var got []audit.Copy
	take := func(c audit.Copy) { got = append(got, c) }
	if err := errors.Join(audit.Stocks(t.Context(), auditor, take), audit.Prices(t.Context(), auditor, take)); err != nil {
		t.Fatal(err)
	}
	want := []audit.Copy{{"L", 1, "in stock"}, {"M", 2, "sold out"}, {"L", 3, "6 EUR, 5 GBP"}, {"M", 1, ""}}
	if !slices.Equal(got, want) {
		t.Errorf("the copies are %v, want %v", got, want)
	}
}
