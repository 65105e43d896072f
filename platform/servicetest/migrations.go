package servicetest

import (
	"database/sql"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"quadrille.internal/platform/pgtest"
)

// CheckMigrations applies a service's migrations, takes them back and applies
// them again. Taken back, they must leave nothing behind.
func CheckMigrations(t testing.TB, own fs.FS) {
	t.Helper()
	db := migrated(t, own)
	before := tables(t, db)
	dir, err := fs.Sub(own, "migrations")
	if err != nil {
		t.Fatal(err)
	}
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
	kit := tables(t, migrated(t, pgtest.None))
	if left := tables(t, db); !slices.Equal(left, kit) {
		t.Errorf("down leaves the tables %v, want only the kit's, %v", left, kit)
	}
	if _, err := provider.Up(t.Context()); err != nil {
		t.Fatalf("up again: %v", err)
	}
	if after := tables(t, db); !slices.Equal(after, before) {
		t.Errorf("up again makes %v, want %v", after, before)
	}
}

// migrated connects to a new database as its owner, without the limits that a
// service has: an index may take longer.
func migrated(t testing.TB, own fs.FS) *sql.DB {
	t.Helper()
	d := pgtest.New(t)
	d.Migrate(t, own)
	cfg, err := pgx.ParseConfig(d.Owner)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func tables(t testing.TB, db *sql.DB) []string {
	t.Helper()
	var names string
	err := db.QueryRowContext(t.Context(),
		`select coalesce(string_agg(tablename, ',' order by tablename), '') from pg_tables where schemaname = 'public'`).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(names, ",")
}
