// Package pgtx opens PostgreSQL pools, runs transactions and is the one place
// that knows SQLSTATEs.
package pgtx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

const (
	attempts        = 5
	rollbackTimeout = 5 * time.Second
)

// ErrStale says that a row changed between load and save. Run tries again.
var ErrStale = errors.New("row changed meanwhile")

// Options of a pool.
type Options struct {
	// Name is shown in pg_stat_activity.
	Name string
	// MaxConns bounds the pool; 0 means 10.
	MaxConns int32
	// Traced adds a span to each statement.
	Traced bool
	// Pooled says that a pooler in transaction mode stands before the server; see
	// CheckPooler.
	Pooled bool
	// URL returns the database URL as it is now, whose user and password new
	// connections take. Without it, or where it fails, they stay the same.
	URL func() (string, error)
}

// sessionSettings are those of every connection, beside its name and UTC.
var sessionSettings = map[string]string{
	"statement_timeout":                   "10s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "15s",
	// Statements are few and prepared: planning them once, not once a transaction, is a
	// fifth of the server's time in small ones. It would not do so for arrays by itself.
	"plan_cache_mode": "force_generic_plan",
	// Services look up rows by index, whatever the size of their tables. A plan that
	// was made and kept while a table was empty must not read all of it later.
	"enable_seqscan":   "off",
	"enable_hashjoin":  "off",
	"enable_mergejoin": "off",
	"jit":              "off", // it takes what has no index for worth compiling then
}

// Open returns a pool that connects on demand. Statements and idle transactions
// are bounded, so that a lost client never holds a lock for long.
func Open(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("database URL cannot be parsed; want postgres://user:password@host:port/database")
	}
	cfg.MaxConns = o.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 10
	}
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = o.Name
	params["timezone"] = "UTC"
	if o.Pooled {
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	} else {
		maps.Copy(params, sessionSettings)
	}
	if o.URL != nil {
		cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { takeCredentials(c, o.URL); return nil }
	}
	cfg.ConnConfig.OnPgError = closeReadOnly(cfg.ConnConfig.OnPgError)
	// UUIDs in binary, not by way of text and database/sql.
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap())
		return nil
	}
	if o.Traced {
		cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTrimSQLInSpanName())
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// Await waits until the server answers, as one that is just starting will, or
// ctx ends. It gives up at once where waiting would not help.
func Await(ctx context.Context, pool *pgxpool.Pool) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := pool.Ping(ctx)
		if err == nil {
			return nil
		}
		if !transient(err) || refusesParameters(err) || ctx.Err() != nil { // what a start meets with a wrong password or database, lasts
			c := pool.Config().ConnConfig
			return fmt.Errorf("database %q at %s:%d does not answer: %w", c.Database, c.Host, c.Port, err)
		}
		if err := Sleep(ctx, wait); err != nil {
			return fmt.Errorf("wait for database: %w", err)
		}
	}
}

// Beginner is a pool or a connection.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Run runs fn in a transaction and commits when it returns nil. On a serialization
// failure, a deadlock, an outdated plan or ErrStale all of it runs again, a bounded
// number of times, so fn may have no effect outside tx. fn must not touch the
// network.
func Run(ctx context.Context, db Beginner, fn func(context.Context, pgx.Tx) error) error {
	return repeat(ctx, func() error { return once(ctx, db, fn) })
}

func repeat(ctx context.Context, once func() error) error {
	var err error
	for attempt := range attempts {
		if attempt > 0 {
			if Sleep(ctx, time.Duration(attempt*5)*time.Millisecond) != nil {
				return err
			}
		}
		if err = once(); !again(err) {
			return err
		}
	}
	return fmt.Errorf("transaction gave up after %d attempts: %w", attempts, err)
}

func once(ctx context.Context, db Beginner, fn func(context.Context, pgx.Tx) error) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// The roll-back outlives a cancelled ctx, so that no lock stays behind.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(ctx) // after a commit this is a no-op; otherwise the first error counts
	}()
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func again(err error) bool {
	switch state(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	default:
		return errors.Is(err, ErrStale) || outdated(err)
	}
}

// outdated reports whether a statement met a change of the schema: it was prepared
// before a migration changed the type of a column, or its row was on the way to the
// default partition when a partition for it was made. pgx then prepares it once more
// on its connection, so that the same work succeeds when it is done again.
func outdated(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Routine { // the message may be in any language
	case "RevalidateCachedQuery":
		return pg.Code == "0A000"
	case "ExecPartitionCheckEmitError":
		return pg.Code == "23514"
	}
	return false
}

// Transient reports whether the same work may succeed later without anyone
// mending anything: the server is away, overloaded or someone is in the way. Every
// failure to open a new connection passes: of a service that has worked, a refused
// login is a password that is just being changed, a missing database one that is
// being restored.
func Transient(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return connecting || transient(err)
}

func transient(err error) bool {
	if err == nil {
		return false
	}
	s := state(err)
	switch {
	case outdated(err):
		return true
	case s == "":
		// No SQLSTATE: the server was not reached, or the answer was lost.
		var connect *pgconn.ConnectError
		return errors.As(err, &connect) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
			errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
			errors.Is(err, ErrStale) || isNetwork(err)
	default:
		return blameOf(s) == ofServer
	}
}

// Contended reports whether others are in the way of the work: a lock was not got,
// or a statement not ended, in time, or transactions collided again and again. What
// is left of the work may well succeed without the part that they are in the way of.
func Contended(err error) bool {
	s := state(err)
	return s == "55P03" || s == "57014" || again(err)
}

// Violates reports whether err breaks the named constraint.
func Violates(err error, constraint string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "23") && pg.ConstraintName == constraint
}

func state(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// Sleep waits for about d (+-50 %, so that a crowd disperses) or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // jitter needs no secrecy
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// isNetwork reports whether a connection broke while it was in use.
func isNetwork(err error) bool {
	_, op := errors.AsType[*net.OpError](err)
	return op || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
