// Package aggregate loads and saves the rows of aggregates, many at once. No
// locks are taken: a save that finds a row changed since it was loaded fails as a
// serialization failure, and the transaction runs again (see pgtx.Run).
package aggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Row is embedded in an aggregate. Its table has the columns id, a uuid and the
// primary key, and version, a bigint.
type Row struct {
	ID uuid.UUID `json:"id"`
	// Version counts the saves; 0 is a row that was never saved.
	Version int64 `json:"version"`
}

func (r *Row) row() *Row { return r }

// Rooted is a pointer to an aggregate of type T.
type Rooted[T any] interface {
	*T
	row() *Row
}

// Querier is a pool or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Committer is a transaction that runs statements with its commit: a pgtx.Tx.
type Committer interface {
	Last(sql string, args ...any) *pgx.QueuedQuery
}

// Table holds aggregates of type T, a struct with a field, named in JSON as the
// column, for each column.
type Table[T any, P Rooted[T]] struct {
	name   string
	upsert string
}

// NewTable describes the table called name.
func NewTable[T any, P Rooted[T]](name string) *Table[T, P] {
	var sets []string
	for _, c := range columns(reflect.TypeFor[T]()) {
		if c != "id" {
			sets = append(sets, c+" = excluded."+c)
		}
	}
	return &Table[T, P]{name: name, upsert: fmt.Sprintf(
		`with saved as (
			insert into %[1]s as t select * from json_populate_recordset(null::%[1]s, $1)
			on conflict (id) do update set %[2]s where t.version = excluded.version - 1
			returning 1)
		select expect_rows(count(*), $2) from saved`,
		name, strings.Join(sets, ", "))}
}

// columns lists the JSON names of a struct's fields, those embedded included.
func columns(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, columns(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// Load returns those of the aggregates that exist.
func (t *Table[T, P]) Load(ctx context.Context, db Querier, ids []uuid.UUID) (map[uuid.UUID]*T, error) {
	list, err := t.Select(ctx, db, "where id = any($1)", ids)
	if err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID]*T, len(ids))
	for _, a := range list {
		found[P(a).row().ID] = a
	}
	return found, nil
}

// Select returns the aggregates that a condition, in SQL, selects.
func (t *Table[T, P]) Select(ctx context.Context, db Querier, condition string, args ...any) ([]*T, error) {
	rows, err := db.Query(ctx, `select * from `+t.name+` `+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	return list, nil
}

// Save writes aggregates, new and changed, in one statement that travels with the
// commit. One that was changed since it was loaded fails it.
func (t *Table[T, P]) Save(tx Committer, changed map[uuid.UUID]*T) error {
	if len(changed) == 0 {
		return nil
	}
	list := make([]*T, 0, len(changed))
	for _, a := range changed {
		P(a).row().Version++
		list = append(list, a)
	}
	// By id, as every writer does: two that write the same rows cannot deadlock.
	slices.SortFunc(list, func(a, b *T) int {
		return bytes.Compare(P(a).row().ID[:], P(b).row().ID[:])
	})
	rows, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("save %s: %w", t.name, err)
	}
	tx.Last(t.upsert, rows, len(list))
	return nil
}
