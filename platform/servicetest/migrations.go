package servicetest

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"quadrille.internal/platform/pgtest"
)

// CheckMigrations applies a service's migrations, takes them back and applies
// them again. Taken back, they must leave nothing behind.
func CheckMigrations(t testing.TB, own fs.FS) {
	t.Helper()
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
