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

// Row is embedded first in an aggregate whose key is a UUID. Its table has the columns
// id, a uuid and the primary key, and version, a bigint.
type Row struct {
	ID uuid.UUID `json:"id"`
	// Version counts the saves; 0 is a row that was never saved.
	Version int64 `json:"version"`

	loaded loaded
}

// Key returns the id.
func (r *Row) Key() uuid.UUID { return r.ID }

// Touch has the aggregate saved though none of its columns changes. A transaction that
// decides something from an aggregate and writes only elsewhere calls it: of two such
// transactions at the same time, the version then lets one commit.
func (r *Row) Touch() { r.loaded = nil }

func (r *Row) state() (*int64, *loaded) { return &r.Version, &r.loaded }

// Versioned is embedded in an aggregate with a key of its own: a text, a number, or a
// struct of several columns. The columns of the key come first in the aggregate, and
// its method Key returns them.
type Versioned struct {
	// Version counts the saves; 0 is a row that was never saved.
	Version int64 `json:"version"`

	loaded loaded
}

// Touch is Row.Touch.
func (v *Versioned) Touch() { v.loaded = nil }

func (v *Versioned) state() (*int64, *loaded) { return &v.Version, &v.loaded } //nolint:unused // it is called through Rooted

// loaded is the content of an aggregate as it was loaded; nil where it is not known.
type loaded []byte

// Rooted is a pointer to an aggregate of type T, known by a key of type K.
type Rooted[T any, K comparable] interface {
	*T
	Key() K
	state() (version *int64, loaded *loaded)
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
// column, for each column. What JSON omits is null in the table: a pointer that is
// nil as a rule has omitempty, so that PostgreSQL has less to parse. Its statements name these columns and no others: one
// that a newer version of the service has added keeps its default in new rows and
// its value in old ones.
type Table[T any, K comparable, P Rooted[T, K]] struct {
	name    string
	columns []string
	arrays  []array
	load    string // condition
	upsert  string
	remove  string
}

// NewTable describes the table called name.
func NewTable[T any, K comparable, P Rooted[T, K]](name string) *Table[T, K, P] {
	t := &Table[T, K, P]{name: name, columns: columns(reflect.TypeFor[T]()), arrays: arraysOf(reflect.TypeFor[T]())}
	keys := t.columns[:1]
	if k := reflect.TypeFor[K](); k.Kind() == reflect.Struct {
		keys = t.columns[:len(columns(k))]
	}
	key := list(keys, "")
	t.load = fmt.Sprintf(`where %s = any($1)`, key)
	if len(keys) > 1 {
		t.load = fmt.Sprintf(`where (%[1]s) in (select %[2]s from json_populate_recordset(null::%[3]s, $1) k)`, key, list(keys, "k"), name)
	}
	var sets []string
	for _, c := range t.columns[len(keys):] {
		sets = append(sets, c+" = excluded."+c)
	}
	t.upsert = fmt.Sprintf(
		`with saved as (
			insert into %[1]s as t (%[2]s) select %[2]s from unnest(%[5]s) r (%[2]s)
			on conflict (%[3]s) do update set %[4]s where t.version = excluded.version - 1
			returning 1)
		select expect_rows(count(*), $1) from saved`,
		name, t.Columns(""), key, strings.Join(sets, ", "), parameters(t.arrays))
	t.remove = fmt.Sprintf(
		`with removed as (
			delete from %[1]s t using unnest(%[4]s) r (%[5]s)
			where (%[2]s, t.version) = (%[3]s, r.version)
			returning 1)
		select expect_rows(count(*), $1) from removed`,
		name, list(keys, "t"), list(keys, "r"), parameters(t.arrays), t.Columns(""))
	return t
}

// columns lists the JSON names of a struct's fields, those embedded included, in
// their order.
func columns(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		switch {
		case f.Anonymous:
			names = append(names, columns(f.Type)...)
		case f.IsExported():
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// Columns lists the columns for a statement that Table has no method for, each
// with the alias of its table unless that is "".
func (t *Table[T, K, P]) Columns(alias string) string { return list(t.columns, alias) }

// ColumnsOf is Columns of a struct that no Table holds, but whose fields are also
// named in JSON as their columns.
func ColumnsOf[T any](alias string) string { return list(columns(reflect.TypeFor[T]()), alias) }

func list(columns []string, alias string) string {
	if alias == "" {
		return strings.Join(columns, ", ")
	}
	return alias + "." + strings.Join(columns, ", "+alias+".")
}

// Load returns those of the aggregates that exist.
func (t *Table[T, K, P]) Load(ctx context.Context, db Querier, keys []K) (map[K]*T, error) {
	var arg any = keys
	if reflect.TypeFor[K]().Kind() == reflect.Struct {
		rows, err := json.Marshal(keys)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", t.name, err)
		}
		arg = rows
	}
	rows, err := t.Select(ctx, db, t.load, arg)
	if err != nil {
		return nil, err
	}
	found := make(map[K]*T, len(keys))
	for _, a := range rows {
		found[P(a).Key()] = a
	}
	return found, nil
}

// Select returns the aggregates that a condition, in SQL, selects.
func (t *Table[T, K, P]) Select(ctx context.Context, db Querier, condition string, args ...any) ([]*T, error) {
	rows, err := db.Query(ctx, t.selection(condition), args...)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	found, err := pgtx.Collect(rows, pgx.RowToAddrOfStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", t.name, err)
	}
	if _, saves := db.(Committer); !saves {
		return found, nil
	}
	all := make([]byte, 0, 256*len(found))
	for _, a := range found {
		start := len(all)
		if all, err = appendContent(all, reflect.ValueOf(a).Elem()); err != nil {
			return nil, fmt.Errorf("load %s: %w", t.name, err)
		}
		_, loaded := P(a).state()
		*loaded = all[start:len(all):len(all)]
	}
	return found, nil
}

// SelectWith queues what Select does, so that it travels with other statements: queue is
// Queue of a pgx.Batch, or Last of a transaction, where it sees what was saved before. What
// is found is for reading, and is given to found once the statements have run.
func (t *Table[T, K, P]) SelectWith(queue func(sql string, args ...any) *pgx.QueuedQuery, found func([]*T), condition string, args ...any) {
	queue(t.selection(condition), args...).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[T])
		if err != nil {
			return fmt.Errorf("load %s: %w", t.name, err)
		}
		found(all)
		return nil
	})
}

func (t *Table[T, K, P]) selection(condition string) string {
	return `select ` + t.Columns("") + ` from ` + t.name + ` ` + condition
}

// Save writes those of the aggregates that are new, or changed since they were loaded
// in this transaction, in one statement that travels with the commit. One that
// somebody else has changed since then fails it. Of those that did not change nothing
// is written or checked; see Touch.
func (t *Table[T, K, P]) Save(tx Committer, aggregates map[K]*T) error {
	changed := make([]row[T], 0, len(aggregates))
	all := make([]byte, 0, 256*len(aggregates))
	for _, a := range aggregates {
		start := len(all)
		var err error
		if all, err = appendContent(all, reflect.ValueOf(a).Elem()); err != nil {
			return fmt.Errorf("save %s: %w", t.name, err)
		}
		version, loaded := P(a).state()
		if content := all[start:]; !bytes.Equal(content, *loaded) {
			*version++
			*loaded = nil // saved again in this transaction, it is written again
			changed = append(changed, row[T]{content, a})
		}
	}
	return t.last(tx, t.upsert, changed)
}

// row is an aggregate with its content, which begins with its key.
type row[T any] struct {
	content   []byte
	aggregate *T
}

// Delete removes aggregates that were loaded, with the commit. One that somebody else
// has changed or removed since then fails it.
func (t *Table[T, K, P]) Delete(tx Committer, aggregates map[K]*T) error {
	rows := make([]row[T], 0, len(aggregates))
	for _, a := range aggregates {
		content, err := appendContent(nil, reflect.ValueOf(a).Elem())
		if err != nil {
			return fmt.Errorf("delete from %s: %w", t.name, err)
		}
		rows = append(rows, row[T]{content, a})
	}
	return t.last(tx, t.remove, rows)
}

// last runs a statement on rows with the commit. They go by key, as those of every
// writer do: two that write the same cannot deadlock.
func (t *Table[T, K, P]) last(tx Committer, sql string, rows []row[T]) error {
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b row[T]) int { return bytes.Compare(a.content, b.content) })
	values := make([]reflect.Value, len(rows))
	for i, r := range rows {
		values[i] = reflect.ValueOf(r.aggregate).Elem()
	}
	args := make([]any, 1, 1+len(t.arrays))
	args[0] = len(rows)
	for _, a := range t.arrays {
		arg, err := a.of(values)
		if err != nil {
			return fmt.Errorf("save %s: %w", t.name, err)
		}
		args = append(args, arg)
	}
	tx.Last(sql, args...)
	return nil
}
