package search

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// Postgres keeps the index in two tables of catalog's own database, one of which is live.
// Documents are found by full text; parts of words and misspelt ones among all words that
// there are, by trigrams.
type Postgres struct {
	pool *pgxpool.Pool
}

// NewPostgres returns the engine on catalog's database.
func NewPostgres(pool *pgxpool.Pool) *Postgres { return &Postgres{pool} }

// Name is postgres.
func (*Postgres) Name() string { return PostgresName }

var slots = []string{"a", "b"}

// table is that of an index, which is one of the slots.
func table(index string) (string, error) {
	if !slices.Contains(slots, index) {
		return "", fmt.Errorf("postgres has no index %q", index)
	}
	return "search_documents_" + index, nil
}

// Propose names the table that is free.
func (*Postgres) Propose(taken []string) (string, error) {
	for _, slot := range slots {
		if !slices.Contains(taken, slot) {
			return slot, nil
		}
	}
	return "", ErrTaken
}

// Create empties a table: it may hold what a crash left.
func (p *Postgres) Create(ctx context.Context, index string) error { return p.Drop(ctx, index) }

// Point does nothing: which index is live stands in catalog's table of indexes.
func (*Postgres) Point(context.Context, string) error { return nil }

// Checkpoint is the highest there is: the index cannot lose what the database keeps.
func (*Postgres) Checkpoint(context.Context, string) (int64, error) { return math.MaxInt64, nil }

const dropAtOnce = 5_000

// Drop empties a table.
func (p *Postgres) Drop(ctx context.Context, index string) error {
	table, err := table(index)
	if err != nil {
		return err
	}
	for {
		tag, err := p.pool.Exec(ctx, `delete from `+table+` where product_id = any(array(select product_id from `+table+` limit $1))`, dropAtOnce)
		if err != nil {
			return fmt.Errorf("empty index %s: %w", index, err)
		}
		if tag.RowsAffected() < dropAtOnce {
			return nil
		}
	}
}

// row is a document as its table has it. The JSON names are the columns.
type row struct {
	ProductID   string     `json:"product_id"`
	Version     int64      `json:"version"`
	Deleted     bool       `json:"deleted"`
	Revision    int64      `json:"revision"`
	Words       string     `json:"words"`
	Facets      []string   `json:"facets"`
	Title       string     `json:"title"`
	Weight      int        `json:"weight"`
	Price       *int64     `json:"price"`
	InStock     bool       `json:"in_stock"`
	PublishedAt *time.Time `json:"published_at"`
}

const (
	columns = `product_id, version, deleted, revision, words, facets, title, weight, price, in_stock, published_at`
	// newer sets all but the key.
	newer = `version = excluded.version, deleted = excluded.deleted, revision = excluded.revision, words = excluded.words,
		facets = excluded.facets, title = excluded.title, weight = excluded.weight, price = excluded.price,
		in_stock = excluded.in_stock, published_at = excluded.published_at`
)

// Write upserts the documents in one statement.
func (p *Postgres) Write(ctx context.Context, index string, docs []Document, _ int64) (map[string]error, error) {
	table, err := table(index)
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	rows, all := make([]row, len(docs)), make(map[string]bool)
	for i := range docs {
		rows[i] = rowOf(&docs[i], all)
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("write to index %s: %w", index, err)
	}
	err = pgtx.RunPiped(ctx, p.pool, func(_ context.Context, tx *pgtx.Tx) error {
		tx.Last(`insert into search_words (word)
			select w from unnest($1::text[]) w where not exists (select from search_words s where s.word = w)
			on conflict do nothing`, slices.Sorted(maps.Keys(all)))
		tx.Last(`insert into `+table+` as t (`+columns+`)
			select `+columns+` from json_populate_recordset(null::`+table+`, $1) n order by product_id
			on conflict (product_id) do update set `+newer+` where t.version < excluded.version`, text)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("write to index %s: %w", index, err)
	}
	return nil, nil
}

// rowOf makes a row of a document, and adds its words to all.
func rowOf(d *Document, all map[string]bool) row {
	r := row{ProductID: d.ID, Version: d.Version, Deleted: d.Deleted, Revision: d.Revision, Facets: []string{}}
	if d.Deleted {
		return r
	}
	words := d.weighted()
	var vector strings.Builder
	for _, word := range slices.Sorted(maps.Keys(words)) {
		all[word] = true
		vector.WriteString("'" + word + "':1")
		if words[word] {
			vector.WriteByte('A')
		}
		vector.WriteByte(' ')
	}
	for _, facet := range d.Facets {
		vector.WriteString(lexeme(facet) + " ")
	}
	if d.InStock {
		vector.WriteString(lexeme(inStock))
	}
	r.Words, r.Title, r.Weight = vector.String(), d.sortTitle(), d.Weight()
	r.Facets, r.Price, r.InStock, r.PublishedAt = d.Facets, d.Price, d.InStock, &d.PublishedAt
	if r.Facets == nil {
		r.Facets = []string{}
	}
	return r
}

// inStock is among the facets of what is in stock.
const inStock = ""

// lexeme writes a facet as a lexeme for full text, so that one index finds words and facets
// together. It begins with a sign that no word has.
func lexeme(facet string) string {
	return "'=" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(facet) + "'"
}

// Read returns rows of a table.
func (p *Postgres) Read(ctx context.Context, index string, ids []string) (map[string]Stored, error) {
	table, err := table(index)
	if err != nil {
		return nil, err
	}
	rows, err := p.pool.Query(ctx, `select product_id, version, revision, deleted, price, in_stock from `+table+` where product_id = any($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", index, err)
	}
	found := make(map[string]Stored)
	var id string
	var s Stored
	_, err = pgx.ForEachRow(rows, []any{&id, &s.Version, &s.Revision, &s.Deleted, &s.Price, &s.InStock}, func() error {
		found[id] = s
		s.Price = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", index, err)
	}
	return found, nil
}
