package audit

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Rows are the rows of a table with a row for each order, in the order of ids. They are
// read one at a time: a table may have millions.
type Rows[T any] struct {
	rows pgx.Rows
	id   func(*T) uuid.UUID
	next *T
	key  uuid.UUID
	err  error
}

// Read begins to read rows whose columns are the fields of T, by place. The query returns
// all rows where $1, a uuid[], is null, otherwise those of its ids; sorted by id.
func Read[T any](ctx context.Context, db DB, sql string, ids []uuid.UUID, id func(*T) uuid.UUID) (*Rows[T], error) {
	rows, err := db.Query(ctx, sql, ids)
	if err != nil {
		return nil, err
	}
	r := &Rows[T]{rows: rows, id: id}
	r.advance()
	return r, nil
}

// ByID ends a query for Read whose table has the column id.
const ByID = ` where $1::uuid[] is null or id = any($1) order by id`

func (r *Rows[T]) advance() {
	r.next = nil
	if !r.rows.Next() {
		r.err = r.rows.Err()
		return
	}
	if r.next, r.err = pgx.RowToAddrOfStructByPos[T](r.rows); r.err != nil {
		r.next = nil
		return
	}
	r.key = r.id(r.next)
}

// Head is the id of the next row, or nil after the last one and after an error.
func (r *Rows[T]) Head() *uuid.UUID {
	if r.next == nil {
		return nil
	}
	return &r.key
}

// Take returns the next row and goes on if it is that of id; otherwise it returns nil.
func (r *Rows[T]) Take(id uuid.UUID) *T {
	row := r.next
	if row == nil || r.key != id {
		return nil
	}
	r.advance()
	return row
}

// Err is why there are no more rows, if that is an error.
func (r *Rows[T]) Err() error { return r.err }

// Close gives the connection back. The zero Rows are empty and may be closed.
func (r *Rows[T]) Close() {
	if r.rows != nil {
		r.rows.Close()
	}
}

// One reads the row of an order, whose columns are the fields of T by name; nil where
// there is none.
func One[T any](ctx context.Context, db DB, sql string, id uuid.UUID) (*T, error) {
	rows, err := db.Query(ctx, sql, id)
	if err != nil {
		return nil, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no row is no error
	}
	return row, err
}

// Each reads the rows of a query one at a time; their columns are the fields of T by place.
func Each[T any](ctx context.Context, db DB, sql string, each func(T)) error {
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			return err
		}
		each(row)
	}
	return rows.Err()
}

// All reads the rows of a query, whose columns are the fields of T by place.
func All[T any](ctx context.Context, db DB, sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
