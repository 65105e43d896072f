package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// finder is one search: a round trip for the words, one for each term that is misspelt, and
// one for what is found.
type finder struct {
	pool  *pgxpool.Pool
	table string
	q     Query
	words int64
	terms []alternatives
}

// Search runs a search. A table that is replaced meanwhile is still whole: it is emptied later.
func (p *Postgres) Search(ctx context.Context, q Query) (result Result, err error) {
	if q.Worded && len(q.Terms) == 0 {
		return Result{Exact: true, Facets: namedOnly(q.Facets)}, nil
	}
	f := &finder{pool: p.pool, q: q}
	if err = f.expand(ctx); err == nil {
		result, err = f.find(ctx)
	}
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

// ask runs statements in one round trip and one implicit transaction, with which the settings
// end. Where values decide which index is the one to use, the plan is made for them; that takes
// longer than most searches.
func (f *finder) ask(ctx context.Context, forValues bool, queue func(*pgx.Batch)) error {
	mode := "force_generic_plan"
	if forValues {
		mode = "force_custom_plan"
	}
	var b pgx.Batch
	b.Queue(`select set_config('plan_cache_mode', $1, true), set_config('statement_timeout', $2, true)`, mode, searchTimeout)
	queue(&b)
	return f.pool.SendBatch(ctx, &b).Close()
}

// expand finds the live index, and looks up which words the terms stand for.
func (f *finder) expand(ctx context.Context) error {
	f.terms = make([]alternatives, len(f.q.Terms))
	for i, term := range f.q.Terms {
		f.terms[i].term = term
	}
	known := int64(math.MaxInt64)
	if f.q.After != nil {
		known = f.q.After.Words
	}
	var index *string
	found := make([]bool, len(f.terms))
	if err := f.ask(ctx, false, func(b *pgx.Batch) {
		b.Queue(`
			select (select name from search_indexes where engine = $1 and status = 'live'), least($2, (select coalesce(max(id), 0) from search_words))`,
			PostgresName, known).QueryRow(func(row pgx.Row) error { return row.Scan(&index, &f.words) })
		if len(f.terms) > 0 {
			b.Queue(alternativesOf, f.q.Terms, known, shortestPart, maxParts).Query(func(rows pgx.Rows) error { return f.readAlternatives(rows, found) })
		}
	}); err != nil {
		return fmt.Errorf("look up words: %w", err)
	}
	if index == nil {
		return ErrNotReady
	}
	var err error
	if f.table, err = table(*index); err != nil {
		return err
	}
	for i := range f.terms {
		if !found[i] && typos(f.terms[i].term) > 0 {
			if err := f.correct(ctx, &f.terms[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// alternativesOf finds for each term whether a word begins with it, and the words that hold it.
const alternativesOf = `
	select t.n, w.word, w.begins from unnest($1::text[]) with ordinality t (term, n) cross join lateral (
		(select word, true as begins from search_words
			where word >= t.term and word < t.term || U&'\+10FFFF' and id <= $2 order by word limit 1)
		union all
		(select word, false from search_words
			where $3 <= length(t.term) and word like '%' || t.term || '%' and not starts_with(word, t.term) and id <= $2
			order by length(word), word limit $4)) w`

func (f *finder) readAlternatives(rows pgx.Rows, found []bool) error {
	var n int
	var word string
	var begins bool
	_, err := pgx.ForEachRow(rows, []any{&n, &word, &begins}, func() error {
		found[n-1] = true
		if !begins {
			f.terms[n-1].parts = append(f.terms[n-1].parts, word)
		}
		return nil
	})
	return err
}

// correct finds the words that differ from a term by the fewest typing errors.
func (f *finder) correct(ctx context.Context, a *alternatives) error {
	var similar []string
	if err := f.ask(ctx, false, func(b *pgx.Batch) {
		b.Queue(`
			select similar_words($1, $2, $3)
			union
			select word from search_words where word = any($4) and id <= $2`, a.term, f.words, maxSimilar, swapped(a.term)).
			Query(func(rows pgx.Rows) (err error) {
				similar, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			})
	}); err != nil {
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

// condition is that of the hits, of which each term is in as fits says.
func (f *finder) condition(s *statement, fits func(alternatives) string) string {
	all := []string{"not d.deleted"}
	var found []string
	for _, a := range f.terms {
		found = append(found, fits(a))
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
		all = append(all, "d.words @@ "+s.arg(strings.Join(found, " & "))+"::tsquery")
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
	all := []string{a.beginning()}
	for _, word := range a.parts {
		all = append(all, "'"+word+"'")
	}
	return "(" + strings.Join(all, " | ") + ")"
}

// beginning is that without the words that only contain the term.
func (a alternatives) beginning() string {
	var all []string
	for _, word := range slices.Concat(a.corrected, []string{a.term}) {
		all = append(all, "'"+word+"':*")
	}
	return "(" + strings.Join(all, " | ") + ")"
}

// score says how well a document fits: the sum over the terms, then what is said in few words.
func (f *finder) score(s *statement) string {
	fits := func(query string) string { return "d.words @@ " + s.arg(query) + "::tsquery" }
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
