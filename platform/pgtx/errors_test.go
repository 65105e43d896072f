package pgtx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

func TestTransient(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("step: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"a plain error", errors.New("x"), false},
		{"no rows", pgx.ErrNoRows, false},
		{"cancelled", fmt.Errorf("x: %w", context.Canceled), true},
		{"deadline", context.DeadlineExceeded, true},
		{"stale row", fmt.Errorf("x: %w", pgtx.ErrStale), true},
		{"connection closed by the server", fmt.Errorf("x: %w", io.ErrUnexpectedEOF), true},
		{"connection reset", &net.OpError{Op: "read", Err: errors.New("reset")}, true},
		{"08006 connection failure", state("08006"), true},
		{"40001 serialization failure", state("40001"), true},
		{"40P01 deadlock", state("40P01"), true},
		{"53300 too many connections", state("53300"), true},
		{"53100 disk full", state("53100"), true},
		{"55P03 lock not available", state("55P03"), true},
		{"57014 statement timeout", state("57014"), true},
		{"57P01 backend killed", state("57P01"), true},
		{"57P03 server starting", state("57P03"), true},
		{"25P03 idle in transaction", state("25P03"), true},
		{"58030 disk error", state("58030"), true},
		{"23505 unique violation", state("23505"), false},
		{"23514 check violation", state("23514"), false},
		{"22P02 bad input", state("22P02"), false},
		{"28P01 wrong password", state("28P01"), false},
		{"42P01 no such table", state("42P01"), false},
		{"0A000 outdated plan", &pgconn.PgError{Code: "0A000", Routine: "RevalidateCachedQuery"}, true},
		{"23514 partition just made", &pgconn.PgError{Code: "23514", Routine: "ExecPartitionCheckEmitError"}, true},
		{"0A000 otherwise", state("0A000"), false},
		{"25006 read-only after a failover", state("25006"), true},
		{"25P04 transaction too long", state("25P04"), true},
		{"55006 object in use", state("55006"), true},
		{"P0001 raised by a function", state("P0001"), false},
	} {
		if got := pgtx.Transient(c.err); got != c.want {
			t.Errorf("%s: Transient = %v, want %v", c.name, got, c.want)
		}
	}
}

// Each SQLSTATE is of one kind, or an event could be parked for a fault of ours.
func TestEverySQLSTATEIsOfOneKind(t *testing.T) {
	const transient, defect, data = "transient", "defect", "data"
	want := map[string]string{
		"02": data, "03": defect, "08": transient, "09": defect, "0A": defect, "0B": defect, "0F": defect, "0L": defect,
		"0P": defect, "0Z": defect, "10": defect, "20": data, "21": data, "22": data, "23": data, "24": defect, "25": defect, "26": defect,
		"27": defect, "28": defect, "2B": defect, "2D": defect, "2F": defect, "34": defect, "38": defect, "39": defect,
		"3B": defect, "3D": defect, "3F": defect, "40": transient, "42": defect, "44": data, "53": transient, "54": data,
		"55": defect, "57": transient, "58": transient, "72": transient, "F0": defect, "HV": defect, "P0": data, "XX": defect,
	}
	codes := map[string]string{
		"25001": defect, "25006": transient, "25P01": defect, "25P02": defect, "25P03": transient, "25P04": transient,
		"53100": transient, "53200": transient, "53300": transient, "53400": transient,
		"54000": data, "54001": data, "54011": defect, "54023": defect,
		"55000": defect, "55006": transient, "55P02": defect, "55P03": transient, "55P04": defect,
		"57014": transient, "57P01": transient, "57P02": transient, "57P03": transient, "57P04": transient, "57P05": transient,
		"42501": defect, "42P01": defect, "22P02": data, "23505": data, "P0001": data, "XX000": defect, "XX001": defect, "ZZZZZ": defect,
	}
	for class, kind := range want {
		codes[class+"000"] = kind
	}
	for code, kind := range codes {
		err := fmt.Errorf("step: %w", &pgconn.PgError{Code: code})
		var got []string
		if pgtx.Transient(err) {
			got = append(got, transient)
		}
		if pgtx.Defect(err) {
			got = append(got, defect)
		}
		if len(got) == 0 {
			got = append(got, data)
		}
		if !slices.Equal(got, []string{kind}) {
			t.Errorf("%s is %v, want %s", code, got, kind)
		}
	}
	for _, err := range []error{
		&pgconn.PgError{Code: "0A000", Routine: "RevalidateCachedQuery"}, &pgconn.PgError{Code: "23514", Routine: "ExecPartitionCheckEmitError"},
	} {
		if !pgtx.Transient(err) || pgtx.Defect(err) {
			t.Errorf("%v: Transient = %v, Defect = %v, want only Transient", err, pgtx.Transient(err), pgtx.Defect(err))
		}
	}
}

// After a failover a connection may still lead to the server that was the primary.
func TestAConnectionToAReadOnlyServerIsClosed(t *testing.T) {
	for name, run := range map[string]func(*pgxpool.Pool) error{
		"Run": func(pool *pgxpool.Pool) error {
			return pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `update account set balance = 5 where id = 1`)
				return err
			})
		},
		"RunPiped": func(pool *pgxpool.Pool) error {
			return pgtx.RunPiped(t.Context(), pool, func(ctx context.Context, tx *pgtx.Tx) error {
				_, err := tx.Exec(ctx, `update account set balance = 5 where id = 1`)
				return err
			})
		},
		"at the commit": func(pool *pgxpool.Pool) error {
			return pgtx.RunPiped(t.Context(), pool, func(_ context.Context, tx *pgtx.Tx) error {
				tx.Last(`update account set balance = 5 where id = 1`)
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.URL(t)
			openURL(t, url)
			pool, err := pgtx.Open(t.Context(), url, pgtx.Options{Name: "test", MaxConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			exec(t, pool, `set default_transaction_read_only = on`)
			if err := run(pool); !pgtx.Transient(err) {
				t.Errorf("Transient(%v) = false on a read-only server", err)
			}
			if err := run(pool); err != nil {
				t.Errorf("the connection is used again: %v", err)
			}
		})
	}
}

// What really happens to a transaction when things break under it.
func TestTransientForReal(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, pool *pgxpool.Pool, p *proxy, pid uint32)
		then  string // the statement that fails
		want  bool
	}{
		{"backend killed", func(t *testing.T, pool *pgxpool.Pool, _ *proxy, pid uint32) {
			exec(t, pool, `select pg_terminate_backend($1, 5000)`, pid)
		}, `select 1`, true},
		{"connection cut", func(_ *testing.T, _ *pgxpool.Pool, p *proxy, _ uint32) { p.cut() }, `select 1`, true},
		{"statement timeout", nil, `set local statement_timeout = '10ms'; select pg_sleep(30)`, true},
		{"lock timeout", func(t *testing.T, pool *pgxpool.Pool, _ *proxy, _ uint32) { holdAccount(t, pool) },
			`set local lock_timeout = '10ms'; update account set balance = 0 where id = 1`, true},
		{"our mistake", nil, `select * from no_such_table`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, pgtest.URL(t))
			pool := openURL(t, p.url)
			err := pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
				if c.spoil != nil {
					c.spoil(t, pool, p, tx.Conn().PgConn().PID())
				}
				_, err := tx.Conn().PgConn().Exec(ctx, c.then).ReadAll()
				return err
			})
			if err == nil || pgtx.Transient(err) != c.want {
				t.Errorf("Transient(%v) = %v, want %v", err, !c.want, c.want)
			}
		})
	}
}

// holdAccount keeps account 1 locked until the test ends.
func holdAccount(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), `select 1 from account where id = 1 for update`); err != nil {
		t.Fatal(err)
	}
}

// A server that takes the connection and then says nothing more is cut off by
// the caller's deadline.
func TestTransientWhenTheConnectionStops(t *testing.T) {
	p := newProxy(t, pgtest.URL(t))
	pool := openURL(t, p.url)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.freeze()
	defer p.cut() // or closing the pool would wait for the frozen connection
	err := pgtx.Run(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `select 1`)
		return err
	})
	if !pgtx.Transient(err) {
		t.Errorf("Transient(%v) = false, want true", err)
	}
}

func TestViolates(t *testing.T) {
	pool := open(t)
	_, duplicate := pool.Exec(t.Context(), `insert into account values (1, 0)`)
	_, overdrawn := pool.Exec(t.Context(), `update account set balance = -1`)
	_, missing := pool.Exec(t.Context(), `select * from no_such_table`)
	for _, c := range []struct {
		err        error
		constraint string
		want       bool
	}{
		{fmt.Errorf("save: %w", duplicate), "account_pk", true},
		{overdrawn, "never_overdrawn", true},
		{overdrawn, "account_pk", false},
		{missing, "", false},
		{errors.New("account_pk"), "account_pk", false},
		{nil, "account_pk", false},
	} {
		if got := pgtx.Violates(c.err, c.constraint); got != c.want {
			t.Errorf("Violates(%v, %q) = %v, want %v", c.err, c.constraint, got, c.want)
		}
	}
}

func TestAwait(t *testing.T) {
	t.Run("waits for a server that is not up yet", func(t *testing.T) {
		p := newProxy(t, pgtest.URL(t))
		pool := openURL(t, p.url)
		p.refuse()
		go func() { <-p.refused; p.accept() }()
		if err := pgtx.Await(t.Context(), pool); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives up at once where waiting does not help", func(t *testing.T) {
		u, err := url.Parse(pgtest.URL(t))
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/no_such_database"
		pool, err := pgtx.Open(t.Context(), u.String(), pgtx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if err := pgtx.Await(t.Context(), pool); err == nil {
			t.Error("Await = nil for a database that does not exist")
		}
	})
}

// proxy stands for the network between a pool and the server.
type proxy struct {
	url     string
	server  string
	refused chan struct{} // has one token once someone was

	mu      sync.Mutex
	open    []net.Conn
	closed  bool // refuses all that come
	stopped bool // hands nothing on
}

func newProxy(t *testing.T, database string) *proxy {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, refused: make(chan struct{}, 1)}
	u.Host = ln.Addr().String()
	p.url = u.String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			p.serve(&serving, client)
		}
	})
	t.Cleanup(func() { _ = ln.Close(); p.cut(); serving.Wait() })
	return p
}

func (p *proxy) serve(serving *sync.WaitGroup, client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server, err := net.Dial("tcp", p.server)
	if p.closed || err != nil {
		select {
		case p.refused <- struct{}{}:
		default:
		}
		_ = client.Close()
		if err == nil {
			_ = server.Close()
		}
		return
	}
	p.open = append(p.open, client, server)
	serving.Go(func() { p.copy(server, client) })
	serving.Go(func() { p.copy(client, server) })
}

func (p *proxy) copy(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			_ = to.Close()
			return
		}
		if p.frozen() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) frozen() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stopped }

func (p *proxy) freeze() { p.mu.Lock(); defer p.mu.Unlock(); p.stopped = true }

func (p *proxy) accept() { p.mu.Lock(); defer p.mu.Unlock(); p.closed = false }

// refuse cuts every connection and lets in no other.
func (p *proxy) refuse() {
	p.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// cut breaks every connection there is.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func TestContended(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("step: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {errors.New("x"), false}, {context.DeadlineExceeded, false}, {io.ErrUnexpectedEOF, false},
		{state("55P03"), true}, {state("57014"), true}, {state("40001"), true}, {state("40P01"), true}, {pgtx.ErrStale, true},
		{state("57P01"), false}, {state("53300"), false}, {state("08006"), false}, {state("42P01"), false}, {state("23505"), false},
	} {
		if got := pgtx.Contended(c.err); got != c.want {
			t.Errorf("Contended(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}
