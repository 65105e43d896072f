package pgtx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

// What BEGIN and COMMIT travel with has its effect as if each had come alone.
func TestPipedTransactions(t *testing.T) {
	pool := pgtest.Owner(t, pgtest.Open(t, pgtest.None))
	exec(t, pool, `create table note (n int primary key)`)
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		fn   func(context.Context, *pgtx.Tx) error
		want []int // notes afterwards
		fail bool
	}{
		"nothing":                  {func(context.Context, *pgtx.Tx) error { return nil }, nil, false},
		"only with the commit":     {func(_ context.Context, tx *pgtx.Tx) error { put(tx, 1); put(tx, 2); return nil }, []int{1, 2}, false},
		"exec first":               {func(ctx context.Context, tx *pgtx.Tx) error { return write(ctx, tx, 1) }, []int{1}, false},
		"query first, then exec":   {func(ctx context.Context, tx *pgtx.Tx) error { return errors.Join(count(ctx, tx, 0), write(ctx, tx, 1)) }, []int{1}, false},
		"two queries":              {func(ctx context.Context, tx *pgtx.Tx) error { return errors.Join(count(ctx, tx, 0), count(ctx, tx, 0)) }, nil, false},
		"seen within":              {func(ctx context.Context, tx *pgtx.Tx) error { return errors.Join(write(ctx, tx, 1), count(ctx, tx, 1)) }, []int{1}, false},
		"fault after exec":         {func(ctx context.Context, tx *pgtx.Tx) error { return errors.Join(write(ctx, tx, 1), boom) }, nil, true},
		"fault with things to do":  {func(_ context.Context, tx *pgtx.Tx) error { put(tx, 1); return boom }, nil, true},
		"first statement is wrong": {func(ctx context.Context, tx *pgtx.Tx) error { _, err := tx.Exec(ctx, `nonsense`); return err }, nil, true},
		"first query is wrong": {func(ctx context.Context, tx *pgtx.Tx) error {
			_, err := pgx.CollectRows(query(ctx, tx, `select 1/0`))
			return err
		}, nil, true},
		"last statement is wrong": {func(ctx context.Context, tx *pgtx.Tx) error { put(tx, 1); put(tx, 1); return write(ctx, tx, 2) }, nil, true},
		"wrong error is overlooked": {func(ctx context.Context, tx *pgtx.Tx) error {
			_ = write(ctx, tx, 1)
			_, _ = tx.Exec(ctx, `nonsense`)
			return nil
		}, nil, true},
		"rows changed as expected":   {func(_ context.Context, tx *pgtx.Tx) error { put(tx, 1); expect(tx, 1); return nil }, []int{1}, false},
		"rows not changed, for good": {func(_ context.Context, tx *pgtx.Tx) error { put(tx, 1); expect(tx, 2); return nil }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			exec(t, pool, `delete from note`)
			if err := pgtx.RunPiped(t.Context(), pool, tc.fn); (err != nil) != tc.fail {
				t.Errorf("error %v, want one: %v", err, tc.fail)
			}
			rows, err := pool.Query(t.Context(), `select n from note order by n`)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if err != nil || len(got) != len(tc.want) {
				t.Errorf("notes %v (%v), want %v", got, err, tc.want)
			}
			if n := pool.Stat().AcquiredConns(); n != 0 {
				t.Errorf("%d connections are not given back", n)
			}
		})
	}
}

// A row that changed meanwhile runs the transaction again, which then succeeds.
func TestPipedTransactionRunsAgain(t *testing.T) {
	pool := pgtest.Owner(t, pgtest.Open(t, pgtest.None))
	exec(t, pool, `create table note (n int primary key)`)
	runs := 0
	err := pgtx.RunPiped(t.Context(), pool, func(_ context.Context, tx *pgtx.Tx) error {
		runs++
		put(tx, 1)
		if runs == 1 {
			expect(tx, 0)
		}
		return nil
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, error %v", runs, err)
	}
}

func put(tx *pgtx.Tx, n int) { tx.Last(`insert into note values ($1)`, n) }

func expect(tx *pgtx.Tx, n int) {
	tx.Last(`select expect_rows(count(*), $1) from note`, n)
}

func write(ctx context.Context, tx *pgtx.Tx, n int) error {
	_, err := tx.Exec(ctx, `insert into note values ($1)`, n)
	return err
}

func query(ctx context.Context, tx *pgtx.Tx, sql string) (pgx.Rows, func(pgx.CollectableRow) (int, error)) {
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return brokenRows{err: err}, pgx.RowTo[int]
	}
	return rows, pgx.RowTo[int]
}

type brokenRows struct {
	pgx.Rows
	err error
}

func (r brokenRows) Next() bool { return false }
func (r brokenRows) Close()     {}
func (r brokenRows) Err() error { return r.err }

func count(ctx context.Context, tx *pgtx.Tx, want int) error {
	rows, err := tx.Query(ctx, `select count(*) from note`)
	if err != nil {
		return err
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if err == nil && n != want {
		err = errors.New("unexpected number of notes")
	}
	return err
}

// A migration that changes the type of a column outdates statements that are
// prepared. Their transactions run again instead of failing.
func TestOutdatedStatementsRunAgain(t *testing.T) {
	pool := pgtest.Owner(t, pgtest.Open(t, pgtest.None))
	exec(t, pool, `create table note (n int primary key)`)
	look := func(ctx context.Context, tx *pgtx.Tx) error {
		rows, err := tx.Query(ctx, `select n from note`)
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}
	second := func(ctx context.Context, tx *pgtx.Tx) error { return errors.Join(count(ctx, tx, 0), look(ctx, tx)) }
	last := func(_ context.Context, tx *pgtx.Tx) error { tx.Last(`select n from note`); return nil }
	for i, fn := range []func(context.Context, *pgtx.Tx) error{look, second, last} {
		if err := pgtx.RunPiped(t.Context(), pool, fn); err != nil {
			t.Fatal(err)
		}
		exec(t, pool, `alter table note alter n type `+[]string{"bigint", "int", "bigint"}[i])
		if err := pgtx.RunPiped(t.Context(), pool, fn); err != nil {
			t.Errorf("statement %d: %v", i, err)
		}
	}
}

// Limits hold for their transaction, whatever travels with BEGIN, and no longer.
func TestLimits(t *testing.T) {
	pool := open(t)
	show := func(ctx context.Context, tx *pgtx.Tx) (got [2]string, err error) {
		rows, err := tx.Query(ctx, `select current_setting('lock_timeout'), current_setting('statement_timeout')`)
		if err != nil {
			return got, err
		}
		return pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([2]string, error) {
			return got, row.Scan(&got[0], &got[1])
		})
	}
	for _, c := range []struct {
		limits pgtx.Limits
		want   [2]string
	}{
		{pgtx.Limits{Lock: 20 * time.Millisecond, Statement: time.Minute}, [2]string{"20ms", "1min"}},
		{pgtx.Limits{Lock: 500 * time.Millisecond}, [2]string{"500ms", "10s"}},
		{pgtx.Limits{}, [2]string{"5s", "10s"}},
	} {
		var got [2]string
		err := pgtx.RunWithin(t.Context(), pool, c.limits, func(ctx context.Context, tx *pgtx.Tx) (err error) {
			got, err = show(ctx, tx)
			return err
		})
		if err != nil || got != c.want {
			t.Errorf("%+v: the limits are %v (%v), want %v", c.limits, got, err, c.want)
		}
		tooLong := pgtx.Limits{Lock: c.limits.Lock, Statement: 10 * time.Millisecond}
		err = pgtx.RunWithin(t.Context(), pool, tooLong, func(_ context.Context, tx *pgtx.Tx) error {
			tx.Last(`select pg_sleep(30)`)
			return nil
		})
		if !pgtx.Contended(err) {
			t.Errorf("a statement that took too long: %v", err)
		}
	}
}

// Limits that vary are no new statements, each of which would be prepared in a round
// trip of its own and push another out of the connection's cache.
func TestVaryingLimitsPrepareNothing(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	conn, err := pool.Acquire(t.Context()) // all transactions use one connection
	if err != nil {
		t.Fatal(err)
	}
	backend := conn.Conn().PgConn().PID()
	conn.Release()
	prepared := func(lock time.Duration) (n int, pid uint32) {
		limits := pgtx.Limits{Lock: lock, Statement: 2 * lock}
		err := pgtx.RunWithin(t.Context(), pool, limits, func(ctx context.Context, tx *pgtx.Tx) error {
			rows, err := tx.Query(ctx, `select count(*), pg_backend_pid() from pg_prepared_statements`)
			if err != nil {
				return err
			}
			_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (any, error) { return nil, row.Scan(&n, &pid) })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, pid
	}
	prepared(time.Second)
	first, _ := prepared(time.Second)
	for i := range 20 {
		n, pid := prepared(time.Second + time.Duration(i)*time.Millisecond)
		if n != first || pid != backend {
			t.Fatalf("%d statements are prepared on backend %d, want %d on %d", n, pid, first, backend)
		}
	}
}
