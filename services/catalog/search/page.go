package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// order is how an order of hits is written: hits go by key and id, both in one direction.
type order struct {
	key   string // an expression; %s is the score
	typed string // of a key that comes as a text
	text  string // of the key
	desc  bool
}

var orders = map[Sort]order{
	Relevance: {key: "%s", typed: "bigint", text: "key::text", desc: true},
	Newest:    {key: "d.published_at", typed: "timestamptz", text: `to_char(key at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`, desc: true},
	Title:     {key: "d.title", typed: `text collate "C"`, text: "key"},
	// What has no price comes last.
	Cheapest: {key: "coalesce(d.price, 9223372036854775807)", typed: "bigint", text: "key::text"},
	Dearest:  {key: "coalesce(d.price, -1)", typed: "bigint", text: "key::text", desc: true},
}

// page reads the hits behind the cursor.
func (f *finder) page(ctx context.Context, sort Sort) (ids []string, next *Cursor, err error) {
	o := orders[sort]
	var s statement
	key, compare, direction := o.key, ">", ""
	if sort == Relevance {
		key = f.score(&s)
	}
	if o.desc {
		compare, direction = "<", " desc"
	}
	where := f.condition(&s)
	if after := f.q.After; after != nil {
		where += fmt.Sprintf(" and (%s, d.product_id) %s (%s::text::%s, %s)", key, compare, s.arg(after.Key), o.typed, s.arg(after.ID))
	}
	rows, err := f.Query(ctx, fmt.Sprintf(`
		select product_id, %s from (
			select d.product_id, %s as key from %s d where %s
			order by 2%s, 1%[5]s limit %[6]s) hits`, o.text, key, f.table, where, direction, s.arg(f.q.Limit+1)), s.args...)
	if err != nil {
		return nil, nil, fmt.Errorf("read hits: %w", err)
	}
	type hit struct{ ID, Key string }
	hits, err := pgx.CollectRows(rows, pgx.RowToStructByPos[hit])
	if err != nil {
		return nil, nil, fmt.Errorf("read hits: %w", err)
	}
	if len(hits) > f.q.Limit {
		hits = hits[:f.q.Limit]
		last := hits[len(hits)-1]
		next = &Cursor{Engine: PostgresName, Sort: sort, Key: last.Key, ID: last.ID, Words: f.words}
	}
	for _, h := range hits {
		ids = append(ids, h.ID)
	}
	return ids, next, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func byCount(a, b Value) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
}
