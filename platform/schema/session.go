package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"quadrille.internal/platform/pgtx"
)

const (
	// lockKey is the advisory lock, of each database its own, of those who migrate it.
	lockKey     = 0x7175_6164 // "quad"
	lockEvery   = 200 * time.Millisecond
	lockLogged  = 10 * time.Second
	connectWait = 60 * time.Second
)

// session is the one connection that a migration uses: its lock goes with it.
type session struct {
	db  *sql.DB
	cfg *pgx.ConnConfig
}

// once connects once only. A second connection would not hold the lock.
type once struct {
	driver.Connector
	used atomic.Bool
}

var errLost = errors.New("the connection was lost; what was applied stays applied, so run it again")

func (o *once) Connect(ctx context.Context) (driver.Conn, error) {
	if o.used.Load() {
		return nil, errLost
	}
	conn, err := o.Connector.Connect(ctx)
	if err == nil {
		o.used.Store(true)
	}
	return conn, err
}

func openSession(ctx context.Context, o Options) (*session, error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("database URL cannot be parsed; want postgres://user:password@host:port/database")
	}
	// None of the limits of the services' pools, nor any that database or role have.
	for name, value := range map[string]string{
		"application_name": o.Name + " migrate", "timezone": "UTC", "search_path": "public",
		"statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"lock_timeout":   strconv.FormatInt(o.LockTimeout.Milliseconds(), 10),
		"enable_seqscan": "on", "enable_hashjoin": "on", "enable_mergejoin": "on",
		"plan_cache_mode": "auto", "default_transaction_read_only": "off", "default_transaction_isolation": "read committed",
		// Without these, a command that was killed would hold its locks for as long as
		// its statement runs, or its network is thought to live.
		"client_connection_check_interval": "2s",
		"tcp_keepalives_idle":              "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3",
	} {
		cfg.RuntimeParams[name] = value
	}
	db := sql.OpenDB(&once{Connector: stdlib.GetConnector(*cfg)})
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	s := &session{db: db, cfg: cfg}
	if err := s.await(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// await waits for a server that is just starting.
func (s *session) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := s.db.PingContext(ctx)
		if err == nil {
			return nil
		}
		if !pgtx.Transient(err) || pgtx.Sleep(ctx, wait) != nil {
			return fmt.Errorf("database %q at %s:%d does not answer: %w", s.cfg.Database, s.cfg.Host, s.cfg.Port, err)
		}
	}
}

func (s *session) close() { _ = s.db.Close() } // the lock goes with it

// do runs fn on the connection.
func (s *session) do(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // goes back to db
	return conn.Raw(func(c any) error {
		raw, ok := c.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the driver's connection is a %T", c)
		}
		return fn(ctx, raw.Conn())
	})
}

// lock waits until no other command migrates this database, for as long as that
// takes. It asks again and again: one that waited in the server would hold a snapshot,
// which "create index concurrently" waits for.
func (s *session) lock(ctx context.Context, log *slog.Logger) error {
	var logged time.Time
	for {
		var got bool
		if err := s.db.QueryRowContext(ctx, `select pg_try_advisory_lock($1)`, lockKey).Scan(&got); err != nil {
			return fmt.Errorf("take the lock of migrations: %w", err)
		}
		if got {
			return nil
		}
		if time.Since(logged) > lockLogged {
			log.InfoContext(ctx, "another command migrates this database, waiting for it", "database", s.cfg.Database)
			logged = time.Now()
		}
		if err := pgtx.Sleep(ctx, lockEvery); err != nil {
			return fmt.Errorf("wait for another command that migrates: %w", err)
		}
	}
}

func (s *session) setLockTimeout(ctx context.Context, d time.Duration) error {
	_, err := s.db.ExecContext(ctx, `select set_config('lock_timeout', $1, false)`, strconv.FormatInt(d.Milliseconds(), 10))
	return err
}
