package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// maxParts is how many words that contain a term are searched beside it.
	maxParts = 50
	// shortestPart is how long a term must be to be found within words.
	shortestPart = 3
	// maxSimilar is how many words are looked at for a term that is misspelt.
	maxSimilar = 30
	// searchTimeout bounds one statement. A search that takes longer helps nobody.
	searchTimeout = "3000"
)

// alternatives are the words that stand for a term.
type alternatives struct {
	term string
	// parts are words that contain it.
	parts []string
	// corrected are words that it may be meant to be, where nothing has it.
	corrected []string
}

// finder is one search in one transaction.
type finder struct {
	pgx.Tx
	table string
	q     Query
	words int64
	terms []alternatives
}

// Search runs a search. All of it sees one index.
func (p *Postgres) Search(ctx context.Context, q Query) (Result, error) {
	if q.Worded && len(q.Terms) == 0 {
		return Result{Exact: true, Facets: namedOnly(q.Facets)}, nil
	}
	var result Result
	err := pgx.BeginTxFunc(ctx, p.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		f := &finder{Tx: tx, q: q}
		if err = f.prepare(ctx); err == nil {
			result, err = f.find(ctx)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotReady) {
		err = fmt.Errorf("search: %w", err)
	}
	return result, err
}

func namedOnly(names []string) []Facet {
	facets := make([]Facet, len(names))
	for i, name := range names {
		facets[i].Name = name
	}
	return facets
}

// prepare finds the live index. Statements are planned for their values: how many products
// have a word or a facet decides whether its index is the one to use.
func (f *finder) prepare(ctx context.Context) error {
	var index string
	var newest int64
	var ready bool
	var b pgx.Batch
	b.Queue(`select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', $1, true)`, searchTimeout)
	b.Queue(`select name from search_indexes where engine = $1 and status = 'live'`, PostgresName).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&index)
		if ready = err == nil; errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	b.Queue(`select coalesce(max(id), 0) from search_words`).QueryRow(func(row pgx.Row) error { return row.Scan(&newest) })
	if err := f.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if !ready {
		return ErrNotReady
	}
	var err error
	f.table, err = table(index)
	if f.words = newest; f.q.After != nil {
		f.words = min(newest, f.q.After.Words)
	}
	return err
}

func (f *finder) find(ctx context.Context) (r Result, err error) {
	if err := f.expand(ctx); err != nil {
		return r, err
	}
	sort := f.q.Sort
	if f.q.After != nil {
		sort = f.q.After.Sort
	} else {
		if r.Total, r.Facets, err = f.count(ctx); err != nil {
			return r, err
		}
		if r.Exact = r.Total <= MaxCounted; !r.Exact {
			r.Total = MaxCounted
		}
		if sort == Relevance && (!r.Exact || len(f.q.Terms) == 0) {
			sort = Newest
		}
	}
	r.IDs, r.Next, err = f.page(ctx, sort)
	return r, err
}

// expand looks up which words the terms stand for.
func (f *finder) expand(ctx context.Context) error {
	f.terms = make([]alternatives, len(f.q.Terms))
	for i, term := range f.q.Terms {
		f.terms[i].term = term
	}
	if len(f.terms) == 0 {
		return nil
	}
	rows, err := f.Query(ctx, `
		select t.n, w.word, w.begins from unnest($1::text[]) with ordinality t (term, n) cross join lateral (
			(select word, true as begins from search_words
				where word >= t.term and word < t.term || U&'\+10FFFF' and id <= $2 order by word limit 1)
			union all
			(select word, false from search_words
				where $3 <= length(t.term) and word like '%' || t.term || '%' and not starts_with(word, t.term) and id <= $2
				order by length(word), word limit $4)) w`,
		f.q.Terms, f.words, shortestPart, maxParts)
	if err != nil {
		return fmt.Errorf("look up words: %w", err)
	}
	known := make([]bool, len(f.terms))
	var n int
	var word string
	var begins bool
	if _, err := pgx.ForEachRow(rows, []any{&n, &word, &begins}, func() error {
		known[n-1] = true
		if !begins {
			f.terms[n-1].parts = append(f.terms[n-1].parts, word)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("look up words: %w", err)
	}
	for i := range f.terms {
		if !known[i] && typos(f.terms[i].term) > 0 {
			if err := f.correct(ctx, &f.terms[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// correct finds the words that differ from a term by the fewest typing errors.
func (f *finder) correct(ctx context.Context, a *alternatives) error {
	rows, err := f.Query(ctx, `
		select similar_words($1, $2, $3)
		union
		select word from search_words where word = any($4) and id <= $2`, a.term, f.words, maxSimilar, swapped(a.term))
	if err != nil {
		return fmt.Errorf("look up similar words: %w", err)
	}
	similar, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look up similar words: %w", err)
	}
	slices.Sort(similar)
	least := typos(a.term)
	for _, word := range similar {
		switch d := distance(a.term, word); {
		case d < least:
			least, a.corrected = d, []string{word}
		case d == least:
			a.corrected = append(a.corrected, word)
		}
	}
	return nil
}

// statement collects the arguments of a statement as it is written.
type statement struct{ args []any }

func (s *statement) arg(v any) string {
	s.args = append(s.args, v)
	return "$" + strconv.Itoa(len(s.args))
}

// condition is that of the hits.
func (f *finder) condition(s *statement) string {
	all := []string{"not d.deleted"}
	var found []string
	for _, a := range f.terms {
		found = append(found, a.any())
	}
	for _, name := range sortedKeys(f.q.Filters) {
		var values []string
		for _, v := range f.q.Filters[name] {
			values = append(values, lexeme(name+"="+v))
		}
		found = append(found, "("+strings.Join(values, " | ")+")")
	}
	if f.q.InStock {
		found = append(found, lexeme(inStock))
	}
	if len(found) > 0 {
		all = append(all, "d.words @@ "+s.arg(strings.Join(found, " & "))+"::text::tsquery")
	}
	if f.q.MinPrice != nil {
		all = append(all, "d.price >= "+s.arg(*f.q.MinPrice))
	}
	if f.q.MaxPrice != nil {
		all = append(all, "d.price <= "+s.arg(*f.q.MaxPrice))
	}
	return strings.Join(all, " and ")
}

// any is a tsquery for what a term stands for: words that begin with it, contain it, or look
// like it. Words are letters and digits, so that nothing in them has a meaning here.
func (a alternatives) any() string {
	var all []string
	for _, word := range slices.Concat(a.corrected, []string{a.term}) {
		all = append(all, "'"+word+"':*")
	}
	for _, word := range a.parts {
		all = append(all, "'"+word+"'")
	}
	return "(" + strings.Join(all, " | ") + ")"
}

// score says how well a document fits: the sum over the terms, then what is said in few words.
func (f *finder) score(s *statement) string {
	fits := func(query string) string { return "d.words @@ " + s.arg(query) + "::text::tsquery" }
	terms := make([]string, len(f.terms))
	for i, a := range f.terms {
		words := []string{"'" + a.term + "'"}
		for _, word := range a.corrected {
			words = append(words, "'"+word+"'")
		}
		terms[i] = fmt.Sprintf("case when %s then %d when %s then %d when %s then %d when %s then %d else %d end",
			fits(strings.Join(words, ":A | ")+":A"), wholeInTitle, fits(strings.Join(words, " | ")), whole,
			fits("'"+a.term+"':*A"), beginInTitle, fits("'"+a.term+"':*"), begin, part)
	}
	return "(" + strings.Join(terms, " + ") + ") * 100 + d.weight"
}

// How well a document fits a term.
const (
	part = 1 << iota
	begin
	beginInTitle
	whole
	wholeInTitle
)

// count counts hits and facets.
func (f *finder) count(ctx context.Context) (total int, facets []Facet, err error) {
	var s statement
	sql := `with found as materialized (select d.facets from ` + f.table + ` d where ` + f.condition(&s) + ` limit ` + s.arg(MaxCounted+1) + `),
		-- Grouped before names are looked at: there are far fewer facets than hits.
		counted as materialized (select facet, count(*) as n from found, unnest(facets) facet group by facet)
		select '' as name, '' as value, count(*) as n from found`
	if len(f.q.Facets) > 0 {
		sql += ` union all
			select name, substr(facet, length(name) + 2), n from (
				select name, facet, n, row_number() over (partition by name order by n desc, facet) as place
				from counted, lateral (select split_part(facet, '=', 1) as name) s
				where name = any(` + s.arg(f.q.Facets) + `)) placed
			where place <= ` + s.arg(MaxValues)
	}
	rows, err := f.Query(ctx, sql, s.args...)
	if err != nil {
		return 0, nil, fmt.Errorf("count: %w", err)
	}
	facets = namedOnly(f.q.Facets)
	var name, value string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&name, &value, &n}, func() error {
		if name == "" {
			total = n
			return nil
		}
		at := slices.Index(f.q.Facets, name)
		facets[at].Values = append(facets[at].Values, Value{value, n})
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("count: %w", err)
	}
	for i := range facets {
		slices.SortFunc(facets[i].Values, byCount)
	}
	return total, facets, nil
}
