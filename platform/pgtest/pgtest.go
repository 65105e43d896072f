// Package pgtest gives each test a PostgreSQL database of its own, with the roles of
// production: an owner that migrates it, and a role for the service, which may do no
// more than read and write rows.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/schema"
)

// None is a service without tables of its own.
var None fs.FS = fstest.MapFS{"migrations/00001_none.sql": {Data: []byte("-- +goose Up\nselect 1;\n")}}

// A Database is known by the URLs of its roles.
type Database struct {
	// Owner owns the database and migrates it.
	Owner string
	// Runtime is who a service runs as. It may do nothing until Migrate.
	Runtime string
	// Auditor may read all, and changes nothing.
	Auditor string
	// Superuser is for what a test does to the server.
	Superuser string
}

// New creates an empty database, dropped when the test ends. The server is the one
// that make test starts: QUADRILLE_TEST_POSTGRES.
func New(t testing.TB) Database {
	t.Helper()
	server := serverURL(t)
	createRoles(t, server)
	name := "test_" + strings.ToLower(rand.Text()[:16])
	exec(t, server, `create database `+name+` owner `+ownerRole)
	t.Cleanup(func() { exec(t, server, `drop database `+name+` with (force)`) })
	return Database{
		Owner: urlOf(t, server, name, ownerRole), Runtime: urlOf(t, server, name, RuntimeRole),
		Auditor: urlOf(t, server, name, auditorRole), Superuser: urlOf(t, server, name, ""),
	}
}

// Migrate brings the database up to date as the command of a service does. grants are
// those of the service's Spec.
func (d Database) Migrate(t testing.TB, own fs.FS, grants ...map[string]string) {
	t.Helper()
	all := map[string]string{}
	for _, g := range grants {
		maps.Copy(all, g)
	}
	err := schema.Migrate(t.Context(), schema.Options{URL: d.Owner, Role: RuntimeRole, Name: "test", Own: own, Grants: all})
	if err != nil {
		t.Fatal(err)
	}
}

// URL creates an empty database, dropped when the test ends, and returns the URL of
// its owner.
func URL(t testing.TB) string {
	t.Helper()
	return New(t).Owner
}

// Open returns a pool on a new database with the kit's tables and those of own. It
// has the rights of a service, with the given grants: what a service may not do in
// production fails here too. Owner and Admin may do more.
func Open(t testing.TB, own fs.FS, grants ...map[string]string) *pgxpool.Pool {
	t.Helper()
	d := New(t)
	d.Migrate(t, own, grants...)
	return open(t, d.Runtime)
}

// Owner returns a pool of the owner of the database of pool, for tests that change
// the schema, or what a service may not change.
func Owner(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	return open(t, urlOf(t, serverURL(t), pool.Config().ConnConfig.Database, ownerRole))
}

// Auditor returns a pool of the role that may read the database of pool and no more, as
// the operator's commands open it.
func Auditor(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	return Database{Auditor: urlOf(t, serverURL(t), pool.Config().ConnConfig.Database, auditorRole)}.OpenAuditor(t)
}

// OpenAuditor returns that of the database.
func (d Database) OpenAuditor(t testing.TB) *pgxpool.Pool {
	t.Helper()
	auditor, err := pgxpool.New(t.Context(), d.Auditor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auditor.Close)
	return auditor
}

// Admin connects to the database of pool as superuser, until the test ends: for tests
// that look at, or disturb, the server and other sessions.
func Admin(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), urlOf(t, serverURL(t), pool.Config().ConnConfig.Database, ""))
	if err != nil {
		t.Fatalf("connect to QUADRILLE_TEST_POSTGRES: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// patience is how long the server may take for anything, on a machine that is busy.
const patience = 2 * time.Minute

const objectInUse = "55006" // SQLSTATE

// open returns a pool as a service has it, but for how long it waits for the server: tests
// that are about time set its bounds themselves.
func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	bounded, err := pgtx.Open(t.Context(), url, pgtx.Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := bounded.Config()
	bounded.Close()
	for _, bound := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		cfg.ConnConfig.RuntimeParams[bound] = strconv.FormatInt(patience.Milliseconds(), 10)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func serverURL(t testing.TB) string {
	t.Helper()
	server := os.Getenv("QUADRILLE_TEST_POSTGRES")
	if server == "" {
		t.Fatal("QUADRILLE_TEST_POSTGRES is not set: run the tests with make test, " +
			"or set it to the URL of a superuser on a server that may be written to")
	}
	return server
}

// urlOf is the server's URL with another database, and another role unless it is "".
func urlOf(t testing.TB, server, database, role string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("QUADRILLE_TEST_POSTGRES: %v", err)
	}
	u.Path = "/" + database
	if role != "" {
		u.User = url.UserPassword(role, password(u))
	}
	return u.String()
}

func exec(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to QUADRILLE_TEST_POSTGRES: %v", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	// The server waits 5 s for sessions that it has ended, which may be too little for a busy machine.
	for inUse := new(pgconn.PgError); errors.As(err, &inUse) && inUse.Code == objectInUse && ctx.Err() == nil; {
		_, err = conn.Exec(ctx, sql)
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
