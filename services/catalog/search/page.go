package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// sorted writes the order of hits. rows is what hits are selected from, with d for a document,
// and key the expression that they go by.
func (o order) sorted(key, rows, limit string) string {
	direction := ""
	if o.desc {
		direction = " desc"
	}
	return fmt.Sprintf(`select product_id, %s as key, row_number() over (order by key%s, product_id%[2]s) as place
		from (select d.product_id, %[3]s as key from %[4]s order by 2%[2]s, 1%[2]s limit %[5]s) hits`, o.text, direction, key, rows, limit)
}

// find reads a page of hits, and on the first one counts hits and facets in the same statement.
// What is counted is sorted, too. Where there is more than that, hits are read in the order of
// an index.
func (f *finder) find(ctx context.Context) (r Result, err error) {
	sort := f.q.Sort
	if f.q.After != nil {
		sort = f.q.After.Sort
	} else if sort == Relevance && len(f.q.Terms) == 0 {
		sort = Newest
	}
	page := &answer{most: f.q.Limit, facets: namedOnly(f.q.Facets)}
	if f.q.After == nil {
		if err := f.run(ctx, page, !f.hasWords() || f.words > manyWords, func(s *statement) string { return f.first(s, sort) }); err != nil {
			return r, err
		}
		r.Total, r.Exact, r.Facets = min(page.total, MaxCounted), page.total <= MaxCounted, page.facets
		if sort == Relevance && !r.Exact {
			sort = Newest
		}
	}
	if f.q.After != nil || !r.Exact {
		page = &answer{most: f.q.Limit}
		if err := f.run(ctx, page, true, func(s *statement) string { return f.ordered(s, sort) }); err != nil {
			return r, err
		}
	}
	r.IDs = page.ids
	if page.more {
		r.Next = &Cursor{Engine: PostgresName, Sort: sort, Key: page.key, ID: page.ids[len(page.ids)-1], Words: f.words}
	}
	return r, nil
}

// manyWords is from how many words on a search is planned for its terms. A term that is in many
// documents is found by reading some of them: the index would list them all first, which in
// 100,000 products takes 10 to 15 ms. With few documents the index is as fast, and planning slower.
const manyWords = 5_000

// hasWords reports whether the index of words and facets finds the hits, whatever they are.
func (f *finder) hasWords() bool { return len(f.terms)+len(f.q.Filters) > 0 || f.q.InStock }

func (f *finder) run(ctx context.Context, page *answer, forValues bool, write func(*statement) string) error {
	var s statement
	sql := write(&s)
	if err := f.ask(ctx, forValues, func(b *pgx.Batch) { b.Queue(sql, s.args...).Query(page.read) }); err != nil {
		return fmt.Errorf("read hits: %w", err)
	}
	return nil
}

// ordered is the statement for hits in an order, from the cursor on if there is one.
func (f *finder) ordered(s *statement, sort Sort) string {
	o := orders[sort]
	key, compare := o.key, ">"
	if sort == Relevance {
		key = f.score(s)
	}
	if o.desc {
		compare = "<"
	}
	rows := f.table + " d where " + f.condition(s, alternatives.any)
	if after := f.q.After; after != nil {
		rows += fmt.Sprintf(" and (%s, d.product_id) %s (%s::text::%s, %s)", key, compare, s.arg(after.Key), o.typed, s.arg(after.ID))
	}
	return `select 'hit' as kind, product_id as name, key as value, place as n from (` + o.sorted(key, rows, s.arg(f.q.Limit+1)) + `) page`
}

// first is the statement that counts hits and facets, and sorts the hits if these are all.
func (f *finder) first(s *statement, sort Sort) string {
	o := orders[sort]
	key := o.key
	if sort == Relevance {
		key = f.score(s)
	}
	hits, counted := f.hits(s), s.arg(MaxCounted)
	sql := fmt.Sprintf(`
		with found as materialized (
			%s limit %s + 1),
		total as materialized (select count(*) as n from found),
		page as (%s),
		-- Grouped before names are looked at: there are far fewer facets than hits.
		counted as materialized (select facet, count(*) as n from found, unnest(facets) facet group by facet)
		select 'hit' as kind, product_id as name, key as value, place as n from page
		union all
		select 'total', '', '', n from total`,
		hits, counted,
		o.sorted(key, `found d where (select n from total) <= `+counted, s.arg(f.q.Limit+1)))
	if len(f.q.Facets) > 0 {
		sql += `
		union all
		select 'facet', facet, '', n from (
			select facet, n, row_number() over (partition by name order by n desc, facet) as place
			from counted, lateral (select split_part(facet, '=', 1) as name) s
			where name = any(` + s.arg(f.q.Facets) + `)) placed
		where place <= ` + s.arg(MaxValues)
	}
	return sql
}

// hits is a query for them in any order. Those that begin with the only term come first: where
// these are enough, nobody looks for the many words that contain it, which takes most of the time.
func (f *finder) hits(s *statement) string {
	all := "select d.* from " + f.table + " d where "
	if len(f.terms) != 1 || len(f.terms[0].parts) == 0 {
		return all + f.condition(s, alternatives.any)
	}
	return all + f.condition(s, alternatives.beginning) + " union all " + all + f.condition(s, alternatives.any) +
		" and not d.words @@ " + s.arg(f.terms[0].beginning()) + "::tsquery"
}

// answer is what the statement of a page answers.
type answer struct {
	most   int
	ids    []string
	key    string // of the last hit
	more   bool
	total  int
	facets []Facet
}

func (a *answer) read(rows pgx.Rows) error {
	type hit struct{ id, key string }
	hits := make([]hit, a.most+1)
	count := 0
	var kind, name, value string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&kind, &name, &value, &n}, func() error {
		switch kind {
		case "hit":
			hits[n-1] = hit{name, value}
			count++
		case "total":
			a.total = n
		case "facet":
			facet, value, _ := strings.Cut(name, "=")
			at := slices.IndexFunc(a.facets, func(f Facet) bool { return f.Name == facet })
			a.facets[at].Values = append(a.facets[at].Values, Value{value, n})
		}
		return nil
	}); err != nil {
		return err
	}
	if a.more = count > a.most; a.more {
		count = a.most
	}
	for _, h := range hits[:count] {
		a.ids, a.key = append(a.ids, h.id), h.key
	}
	for i := range a.facets {
		slices.SortFunc(a.facets[i].Values, byCount)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func byCount(a, b Value) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
}
