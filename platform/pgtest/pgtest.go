// Package pgtest gives each test a PostgreSQL database of its own.
package pgtest

import (
	"context"
	"crypto/rand"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/schema"
)

// None is a service without tables of its own.
var None fs.FS = fstest.MapFS{"migrations/00001_none.sql": {Data: []byte("-- +goose Up\nselect 1;\n")}}

// URL creates an empty database, dropped when the test ends, and returns its URL.
// The server is the one that make test starts: QUADRILLE_TEST_POSTGRES.
func URL(t testing.TB) string {
	t.Helper()
	server := os.Getenv("QUADRILLE_TEST_POSTGRES")
	if server == "" {
		t.Fatal("QUADRILLE_TEST_POSTGRES is not set: run the tests with make test, " +
			"or set it to the URL of a superuser on a server that may be written to")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("QUADRILLE_TEST_POSTGRES: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:16])
	exec(t, server, `create database `+name)
	t.Cleanup(func() { exec(t, server, `drop database `+name+` with (force)`) })
	u.Path = "/" + name
	return u.String()
}

// Open returns a pool on a new database with the kit's tables and those of own.
func Open(t testing.TB, own fs.FS) *pgxpool.Pool {
	t.Helper()
	pool, err := pgtx.Open(t.Context(), URL(t), pgtx.Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := schema.Up(t.Context(), pool, own); err != nil {
		t.Fatal(err)
	}
	return pool
}

// Admin connects to the database of pool as the superuser that made it, until the
// test ends.
func Admin(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	u, err := url.Parse(os.Getenv("QUADRILLE_TEST_POSTGRES"))
	if err != nil {
		t.Fatalf("QUADRILLE_TEST_POSTGRES: %v", err)
	}
	u.Path = "/" + pool.Config().ConnConfig.Database
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatalf("connect to QUADRILLE_TEST_POSTGRES: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to QUADRILLE_TEST_POSTGRES: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
