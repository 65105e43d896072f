package servicetest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

// CheckUpgrade does what a rolling upgrade does to the version before: it adds to
// every table, those of the kit included, a column that may be null and one with a
// default, each while work runs. work does what the service does once, checks it
// and is run again and again, always by the test's goroutine, so that it may end
// the test. It must use rows of earlier runs too.
func CheckUpgrade(t *testing.T, pool *pgxpool.Pool, work func()) {
	t.Helper()
	newer := pgtest.Admin(t, pool)
	work() // statements are now prepared
	for _, table := range upgradable(t, newer) {
		for _, column := range []string{"later_maybe text", "later_flag smallint not null default 7"} {
			beside(t, work, func() error {
				_, err := newer.Exec(context.Background(), `alter table `+table+` add column `+column)
				return err
			})
			work()
			if t.Failed() {
				t.Fatalf("since %s was added to %s", column, table)
			}
		}
		var wrong int
		if err := newer.QueryRow(t.Context(),
			`select count(*) from `+table+` where later_flag <> 7 or later_maybe is not null`).Scan(&wrong); err != nil || wrong > 0 {
			t.Errorf("%d rows of %s have not the defaults of the new columns (%v)", wrong, table, err)
		}
	}
}

// beside runs work in this goroutine and change in another, and waits for both.
func beside(t *testing.T, work func(), change func() error) {
	t.Helper()
	var changing sync.WaitGroup
	defer changing.Wait() // also when work ends the test
	changing.Go(func() {
		if err := change(); err != nil {
			t.Errorf("change the schema: %v", err)
		}
	})
	work()
}

// upgradable lists the tables but those that migrations are counted in. Partitions
// get their columns from their table.
func upgradable(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		select relname::text from pg_class
		where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
		  and relname <> all ('{kit_migrations,service_migrations}') order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}
