package schema_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// migrations are numbered from 1. Those that start with "--" are not run in a
// transaction.
func migrations(sql ...string) fs.FS {
	files := fstest.MapFS{}
	for i, text := range sql {
		head := "-- +goose Up\n"
		if strings.HasPrefix(text, "--") {
			head = "-- +goose NO TRANSACTION\n" + head
		}
		files[fmt.Sprintf("migrations/%05d_test.sql", i+1)] = &fstest.MapFile{Data: []byte(head + text + "\n")}
	}
	return files
}

// database is a test's own, with what its migration logs.
type database struct {
	testing.TB
	pgtest.Database
	log lines
}

func newDatabase(t testing.TB) *database { return &database{TB: t, Database: pgtest.New(t)} }

func (d *database) options(own fs.FS) schema.Options {
	return schema.Options{
		URL: d.Owner, Role: pgtest.RuntimeRole, Name: "test", Own: own,
		LockTimeout: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&d.log, nil)),
	}
}

func (d *database) migrate(own fs.FS) {
	d.Helper()
	if err := schema.Migrate(d.Context(), d.options(own)); err != nil {
		d.Fatal(err)
	}
}

func (d *database) pool(url string) *pgxpool.Pool {
	d.Helper()
	pool, err := pgtx.Open(d.Context(), url, pgtx.Options{Name: "test"})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(pool.Close)
	return pool
}

func (d *database) connect(url string) *pgx.Conn {
	d.Helper()
	conn, err := pgx.Connect(d.Context(), url)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (d *database) exec(conn *pgx.Conn, sql string) {
	d.Helper()
	if _, err := conn.Exec(d.Context(), sql); err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
}

func state(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

// eventually looks again and again until what is awaited is so.
func eventually(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !isSo() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
