package servicetest

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"quadrille.internal/platform/pgtest"
)

// CheckMigrations applies a service's migrations, takes them back and applies
// them again. Taken back, they must leave nothing behind. Those that run without a
// transaction must be such that they may be repeated.
func CheckMigrations(t testing.TB, own fs.FS) {
	t.Helper()
	checkRepeatable(t, own)
	pool := pgtest.Owner(t, pgtest.Open(t, own))
	before := tables(t, pool)
	dir, err := fs.Sub(own, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() //nolint:errcheck // the pool is closed when the test ends
	store, err := database.NewStore(goose.DialectPostgres, "service_migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider("", db, dir, goose.WithStore(store), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.DownTo(t.Context(), 0); err != nil {
		t.Fatalf("down: %v", err)
	}
	kit := tables(t, pgtest.Open(t, pgtest.None))
	if left := tables(t, pool); !slices.Equal(left, kit) {
		t.Errorf("down leaves the tables %v, want only the kit's, %v", left, kit)
	}
	if _, err := provider.Up(t.Context()); err != nil {
		t.Fatalf("up again: %v", err)
	}
	if after := tables(t, pool); !slices.Equal(after, before) {
		t.Errorf("up again makes %v, want %v", after, before)
	}
}

var concurrent = regexp.MustCompile(`(?i)^(create (unique )?index concurrently if not exists|drop index concurrently if exists)\b`)

// checkRepeatable allows without a transaction only what may run again from its
// beginning, as it does when it was interrupted half-way.
func checkRepeatable(t testing.TB, own fs.FS) {
	t.Helper()
	names, err := fs.Glob(own, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(own, name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "+goose NO TRANSACTION") {
			continue
		}
		for statement := range strings.SplitSeq(comment.ReplaceAllString(string(text), ""), ";") {
			if s := strings.TrimSpace(statement); s != "" && !concurrent.MatchString(s) {
				t.Errorf("%s runs without a transaction, so it may hold only create index concurrently if not exists "+
					"and drop index concurrently if exists, not %s", name, s)
			}
		}
	}
}

var comment = regexp.MustCompile(`(?m)--.*$`)

func tables(t testing.TB, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select tablename::text from pg_tables where schemaname = 'public' order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}
