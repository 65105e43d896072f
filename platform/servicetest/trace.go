package servicetest

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

// byChance are texts that a random id, which may be hexadecimal or base64, has now and then.
var byChance = regexp.MustCompile(`^([0-9a-f-]{0,19}|[0-9A-Za-z_-]{0,5})$`)

// Holding returns the tables that have a text in one of their rows, in a column of any
// type: the kit's and the service's. The text must be one that no random id, time or number
// has as a part of it.
func Holding(t testing.TB, pool *pgxpool.Pool, text string) (found []string) {
	t.Helper()
	if byChance.MatchString(text) {
		t.Fatalf("%q may be found by chance: look for a longer text", text)
	}
	admin := pgtest.Admin(t, pool)
	defer admin.Close(context.WithoutCancel(t.Context())) // tests look often
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

// EraseDue has a holder (an erasure.Holder's Next) look at all requests to erase customers,
// those too that wait for something. A transaction of another test may have to end first.
func EraseDue(t testing.TB, pool *pgxpool.Pool, next func(context.Context) (more bool, err error)) {
	t.Helper()
	Exec(t, pool, `update erasures set look_at = now() where erased_at is null`)
	Await(t, "all that is due was looked at", func() bool {
		if _, err := next(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left bool
		if err := pool.QueryRow(t.Context(), `select exists (select from erasures where erased_at is null and look_at <= now())`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return !left
	})
}
