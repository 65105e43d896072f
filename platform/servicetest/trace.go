package servicetest

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

// Holding returns the tables that have a text in one of their rows, in a column of any
// type: the kit's and the service's.
func Holding(t testing.TB, pool *pgxpool.Pool, text string) (found []string) {
	t.Helper()
	admin := pgtest.Admin(t, pool)
	rows, err := admin.Query(t.Context(), `select oid::regclass::text from pg_class
		where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var has bool
		// As a text, bytes are in hexadecimal.
		err := admin.QueryRow(t.Context(), fmt.Sprintf(`select exists (select from %s r
			where position($1 in r::text) > 0 or position(encode(convert_to($1, 'UTF8'), 'hex') in r::text) > 0)`, table), text).Scan(&has)
		if err != nil {
			t.Fatalf("look for a text in %s: %v", table, err)
		}
		if has {
			found = append(found, table)
		}
	}
	return found
}
