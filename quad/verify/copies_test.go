package verify

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

func TestDiffering(t *testing.T) {
	published := map[string]told{"same": {2, "in stock"}, "behind": {3, "x"}, "ahead": {3, "x"}, "other": {1, "x"}, "missing": {1, "x"}}
	copied := map[string]told{"same": {2, "in stock"}, "behind": {2, "x"}, "ahead": {4, "x"}, "other": {1, "y"}, "stray": {1, "x"}}
	got := differing(published, copied)
	want := map[string]string{
		"behind": "version 3 is published, the copy is of version 2", "ahead": "version 3 is published, the copy is of version 4",
		"other": `published as "x", the copy is "y"`, "missing": "version 1 is published, and there is no copy",
		"stray": "there is a copy, and nothing is published",
	}
	if !maps.Equal(got, want) {
		t.Errorf("they differ in %v, want %v", got, want)
	}
}

// A copy that catches up while it is looked at is no fault.
func TestFaultsThatLast(t *testing.T) {
	src := &Sources{ClearWithin: time.Minute}
	reads := []map[string]string{{"a": "x", "b": "x"}, {"b": "x", "c": "x"}, {}}
	got, err := src.lasting(t.Context(), func() (map[string]string, error) {
		next := reads[0]
		reads = reads[1:]
		return next, nil
	})
	if err != nil || len(got) > 0 || len(reads) > 0 {
		t.Errorf("%v last, %v; %d reads are left", got, err, len(reads))
	}
	src.ClearWithin = time.Nanosecond
	if got, err = src.lasting(t.Context(), func() (map[string]string, error) { return map[string]string{"a": "x"}, nil }); err != nil || len(got) != 1 {
		t.Errorf("%v last, %v", got, err)
	}
}

func TestCopiesAreComparedWithTheirOwners(t *testing.T) {
	databases := make(map[string]*pgxpool.Pool)
	for service, sql := range map[string]string{
		"catalog": `insert into stock_view values ('A', 1, false, '{"in_stock": true}'), ('B', 1, false, '{"in_stock": true}');
			insert into price_view values ('A', 1, false, '{"prices": [{"currency": "GBP", "amount": 5}]}'), ('B', 1, false, '{"prices": [{"currency": "GBP", "amount": 5}]}')`,
		"inventory": `insert into stock_levels values ('A', 1, false, '{"available": 7}'), ('B', 2, false, '{"available": 0}')`,
		"price":     `insert into public_prices values ('A', 1, false, '{"prices": [{"currency": "GBP", "amount": 5}]}'), ('B', 1, false, '{"prices": [{"currency": "GBP", "amount": 6}]}')`,
	} {
		pool := pgtest.Open(t, os.DirFS("../../services/"+service))
		for statement := range strings.SplitSeq(sql, ";") {
			if _, err := pool.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		databases[service] = pgtest.Auditor(t, pool)
	}
	src := &Sources{Databases: databases, ClearWithin: time.Nanosecond}
	checks, err := src.copies(t.Context())
	if err != nil || len(checks) != 2 {
		t.Fatal(checks, err)
	}
	for _, c := range checks {
		if c.Checked != 2 || len(c.Offenders) != 1 || c.Offenders[0].ID != "B" {
			t.Errorf("%+v", c)
		}
	}
	delete(databases, "price")
	if checks, err := src.copies(t.Context()); err != nil || len(checks) != 1 {
		t.Errorf("without price: %v, %v", checks, err)
	}
}
