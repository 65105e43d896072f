package pgtx

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Tx is a transaction that saves round trips: BEGIN travels with its first
// statement, and what is given to Last with COMMIT.
type Tx struct {
	conn   *pgxpool.Conn
	limits Limits
	begun  bool
	last   pgx.Batch
}

// Limits bound the waits of one transaction; 0 is what the pool says.
type Limits struct {
	// Lock is for a lock that somebody else has, Statement for a statement's end.
	Lock, Statement time.Duration
}

// RunPiped is Run with a Tx.
func RunPiped(ctx context.Context, pool *pgxpool.Pool, fn func(context.Context, *Tx) error) error {
	return RunWithin(ctx, pool, Limits{}, fn)
}

// RunWithin is RunPiped with limits. They travel with BEGIN.
func RunWithin(ctx context.Context, pool *pgxpool.Pool, limits Limits, fn func(context.Context, *Tx) error) error {
	return repeat(ctx, func() error { return piped(ctx, pool, limits, fn) })
}

func piped(ctx context.Context, pool *pgxpool.Pool, limits Limits, fn func(context.Context, *Tx) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer conn.Release()
	tx := &Tx{conn: conn, limits: limits}
	defer tx.end(ctx)
	if err := fn(ctx, tx); err != nil {
		return err
	}
	return tx.commit(ctx)
}

// end rolls back what is not committed. It outlives a cancelled ctx, so that no
// lock stays behind; a connection that it fails on is closed by the pool.
func (tx *Tx) end(ctx context.Context) {
	if tx.conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = tx.conn.Exec(ctx, "rollback") // the error that led here counts
}

// Query runs a statement that returns rows.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if tx.begun {
		return tx.conn.Query(ctx, sql, args...)
	}
	results, err := tx.beginWith(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	return &firstRows{Rows: rows, results: results}, nil
}

// Exec runs a statement that returns nothing.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if tx.begun {
		return tx.conn.Exec(ctx, sql, args...)
	}
	results, err := tx.beginWith(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	if cerr := results.Close(); err == nil {
		err = cerr
	}
	return tag, err
}

func (tx *Tx) beginWith(ctx context.Context, sql string, args []any) (pgx.BatchResults, error) {
	tx.begun = true
	var first pgx.Batch
	tx.begin(&first)
	ahead := first.Len()
	first.Queue(sql, args...)
	results := tx.conn.SendBatch(ctx, &first)
	for range ahead {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // it is the first error that counts
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
	return results, nil
}

// begin adds to a batch what begins the transaction.
func (tx *Tx) begin(b *pgx.Batch) {
	b.Queue("begin")
	if d := tx.limits.Lock; d > 0 {
		b.Queue(`select set_config('lock_timeout', $1, true)`, milliseconds(d))
	}
	if d := tx.limits.Statement; d > 0 {
		b.Queue(`select set_config('statement_timeout', $1, true)`, milliseconds(d))
	}
}

// milliseconds is an argument and no part of the text, for limits vary from one
// transaction to the next and each text is prepared in a round trip of its own.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Last queues a statement that is run with the commit, after those queued before.
// One that fails undoes the transaction. Its rows, if wanted, are given to the
// functions that the result takes.
func (tx *Tx) Last(sql string, args ...any) *pgx.QueuedQuery { return tx.last.Queue(sql, args...) }

func (tx *Tx) commit(ctx context.Context) error {
	if !tx.begun && tx.last.Len() == 0 {
		return nil
	}
	batch := &tx.last
	if !tx.begun {
		batch = &pgx.Batch{}
		tx.begin(batch)
		batch.QueuedQueries = append(batch.QueuedQueries, tx.last.QueuedQueries...)
	}
	var outcome pgconn.CommandTag
	batch.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		outcome = tag
		return nil
	})
	if err := tx.conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if outcome.String() != "COMMIT" {
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback)
	}
	return nil
}

// firstRows are the rows of the statement that BEGIN travelled with. The batch is
// closed with them.
type firstRows struct {
	pgx.Rows
	results pgx.BatchResults
	err     error
}

// Next closes the rows behind the last.
func (r *firstRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Close frees the connection for the next statement.
func (r *firstRows) Close() {
	r.Rows.Close()
	if err := r.results.Close(); r.err == nil {
		r.err = err
	}
}

// Err returns the first error of the rows or their batch.
func (r *firstRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}
