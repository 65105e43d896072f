package pgtx_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a pool on a database with accounts 1 and 2.
func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return openURL(t, pgtest.URL(t))
}

func openURL(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgtx.Open(t.Context(), url, pgtx.Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	exec(t, pool, `create table account (
		id int constraint account_pk primary key,
		balance int not null constraint never_overdrawn check (balance >= 0))`)
	exec(t, pool, `insert into account values (1, 100), (2, 100)`)
	return pool
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func balance(t *testing.T, pool *pgxpool.Pool, id int) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select balance from account where id = $1`, id).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRunCommitsOrRollsBack(t *testing.T) {
	pool := open(t)
	failure := errors.New("changed my mind")
	for _, c := range []struct {
		name   string
		result error
		want   int
	}{{"commit", nil, 90}, {"roll back", failure, 90}} {
		t.Run(c.name, func(t *testing.T) {
			err := pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, `update account set balance = balance - 10 where id = 1`); err != nil {
					return err
				}
				return c.result
			})
			if !errors.Is(err, c.result) {
				t.Errorf("Run = %v, want %v", err, c.result)
			}
			if got := balance(t, pool, 1); got != c.want {
				t.Errorf("balance %d, want %d", got, c.want)
			}
		})
	}
}

func TestRunTriesStaleRowsAgainButNotForEver(t *testing.T) {
	pool := open(t)
	for _, c := range []struct {
		name     string
		staleFor int
		attempts int
		fails    bool
	}{{"mends itself", 2, 3, false}, {"never mends", 1_000, 5, true}} {
		t.Run(c.name, func(t *testing.T) {
			attempts := 0
			err := pgtx.Run(t.Context(), pool, func(context.Context, pgx.Tx) error {
				if attempts++; attempts <= c.staleFor {
					return fmt.Errorf("save account: %w", pgtx.ErrStale)
				}
				return nil
			})
			if attempts != c.attempts || errors.Is(err, pgtx.ErrStale) != c.fails {
				t.Errorf("%d attempts, then %v", attempts, err)
			}
		})
	}
}

func TestRunTriesNothingElseAgain(t *testing.T) {
	pool := open(t)
	attempts := 0
	err := pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
		attempts++
		_, err := tx.Exec(ctx, `update account set balance = -1 where id = 1`)
		return err
	})
	if attempts != 1 || !pgtx.Violates(err, "never_overdrawn") {
		t.Errorf("%d attempts, then %v", attempts, err)
	}
}

func TestRunTriesSerializationFailuresAgain(t *testing.T) {
	pool := open(t)
	attempts := 0
	err := pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
		attempts++
		if _, err := tx.Exec(ctx, `set transaction isolation level repeatable read`); err != nil {
			return err
		}
		var seen int
		if err := tx.QueryRow(ctx, `select balance from account where id = 1`).Scan(&seen); err != nil {
			return err
		}
		if attempts == 1 { // someone else is faster
			exec(t, pool, `update account set balance = balance + 1 where id = 1`)
		}
		_, err := tx.Exec(ctx, `update account set balance = $1 where id = 1`, seen-50)
		return err
	})
	if err != nil || attempts != 2 {
		t.Errorf("%d attempts, then %v", attempts, err)
	}
	if got := balance(t, pool, 1); got != 51 {
		t.Errorf("balance %d, want 51: an update was lost", got)
	}
}

func TestRunTriesDeadlocksAgain(t *testing.T) {
	pool := open(t)
	var locked, transfers sync.WaitGroup // locked: both hold their first row
	locked.Add(2)
	transfer := func(from, to int) {
		first := true
		err := pgtx.Run(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `update account set balance = balance - 10 where id = $1`, from); err != nil {
				return err
			}
			if first {
				first = false
				locked.Done()
				locked.Wait()
			}
			_, err := tx.Exec(ctx, `update account set balance = balance + 10 where id = $1`, to)
			return err
		})
		if err != nil {
			t.Errorf("transfer from %d to %d: %v", from, to, err)
		}
	}
	transfers.Go(func() { transfer(1, 2) })
	transfers.Go(func() { transfer(2, 1) })
	transfers.Wait()
	if one, two := balance(t, pool, 1), balance(t, pool, 2); one != 100 || two != 100 {
		t.Errorf("balances %d and %d, want 100 each", one, two)
	}
}

// Whatever ends a transaction, no lock and no connection stays behind.
func TestRunRollsBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		conns int64
		end   func(cancel context.CancelFunc) error
	}{
		{"after an error", 1, func(context.CancelFunc) error { return errors.New("no") }},
		{"after its context was cancelled", 1, func(cancel context.CancelFunc) error { cancel(); return context.Canceled }},
		{"after a commit that was cancelled", 2, func(cancel context.CancelFunc) error { cancel(); return nil }},
		{"after a panic", 1, func(context.CancelFunc) error { panic("at the disco") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := open(t)
			func() {
				defer func() { _ = recover() }()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := pgtx.Run(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, `update account set balance = 0 where id = 1`); err != nil {
						return err
					}
					return c.end(cancel)
				})
				if err == nil {
					t.Error("Run = nil, want an error")
				}
			}()
			// Waits, up to the lock time-out: the server takes a moment to see that a
			// connection is gone.
			exec(t, pool, `select 1 from account where id = 1 for update`)
			if got := balance(t, pool, 1); got != 100 {
				t.Errorf("balance %d, want 100", got)
			}
			if n := pool.Stat().AcquiredConns(); n != 0 {
				t.Errorf("%d connections were not given back", n)
			}
			// pgx itself throws away a connection whose commit was cancelled.
			if n := pool.Stat().NewConnsCount(); n != c.conns {
				t.Errorf("%d connections were made, want %d: one was thrown away instead of rolled back", n, c.conns)
			}
		})
	}
}

func TestOpenHidesThePassword(t *testing.T) {
	_, err := pgtx.Open(t.Context(), "postgres://quad:hunter2@host:port/db", pgtx.Options{})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v, want one without the password", err)
	}
}

func TestOpenBoundsEveryWait(t *testing.T) {
	pool := open(t)
	for setting, want := range map[string]string{
		"application_name": "test", "statement_timeout": "10s", "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "15s", "TimeZone": "UTC",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), `select current_setting($1)`, setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
}
