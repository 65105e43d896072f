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

	"quadrille.internal/platform/pgtx"
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
// column, for each column. Its statements name these columns and no others: one
// that a newer version of the service has added keeps its default in new rows and
// its value in old ones.
type Table[T any, P Rooted[T]] struct {
	name    string
	columns []string
	upsert  string
}

// NewTable describes the table called name.
func NewTable[T any, P Rooted[T]](name string) *Table[T, P] {
	t := &Table[T, P]{name: name, columns: columns(reflect.TypeFor[T]())}
	var sets []string
	for _, c := range t.columns {
		if c != "id" {
			sets = append(sets, c+" = excluded."+c)
		}
	}
	t.upsert = fmt.Sprintf(
		`with saved as (
			insert into %[1]s as t (%[2]s) select %[2]s from json_populate_recordset(null::%[1]s, $1)
			on conflict (id) do update set %[3]s where t.version = excluded.version - 1
			returning 1)
		select expect_rows(count(*), $2) from saved`,
		name, t.Columns(""), strings.Join(sets, ", "))
	return t
}

// columns lists the JSON names of a struct's fields, those embedded included, in
// their order.
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

// Columns lists the columns for a statement that Table has no method for, each
// with the alias of its table unless that is "".
func (t *Table[T, P]) Columns(alias string) string { return list(t.columns, alias) }

// ColumnsOf is Columns of a struct that no Table holds, but whose fields are also
// named in JSON as their columns.
func ColumnsOf[T any](alias string) string { return list(columns(reflect.TypeFor[T]()), alias) }

func list(columns []string, alias string) string {
	if alias == "" {
		return strings.Join(columns, ", ")
	}
	return alias + "." + strings.Join(columns, ", "+alias+".")
}

// Collect reads the rows of a statement that returns just Columns.
func (t *Table[T, P]) Collect(rows pgx.Rows) ([]*T, error) {
	found, err := pgtx.Collect(rows, pgx.RowToAddrOfStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	return found, nil
}

// Load returns those of the aggregates that exist.
func (t *Table[T, P]) Load(ctx context.Context, db Querier, ids []uuid.UUID) (map[uuid.UUID]*T, error) {
	loaded, err := t.Select(ctx, db, "where id = any($1)", ids)
	if err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID]*T, len(ids))
	for _, a := range loaded {
		found[P(a).row().ID] = a
	}
	return found, nil
}

// Select returns the aggregates that a condition, in SQL, selects.
func (t *Table[T, P]) Select(ctx context.Context, db Querier, condition string, args ...any) ([]*T, error) {
	rows, err := db.Query(ctx, `select `+t.Columns("")+` from `+t.name+` `+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	return t.Collect(rows)
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
