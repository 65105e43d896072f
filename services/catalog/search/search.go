// Package search finds products. It says what an index holds and what a search asks and
// answers; engines hold the index, and pass one suite (package searchtest).
package search

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Document is what an index holds of a product.
type Document struct {
	ID string
	// Version orders the documents of a product: an index keeps the highest, whatever comes
	// last. So a late one brings nothing back that was deleted.
	Version int64
	// Deleted documents are kept, and not found. Only ID and Version of them count.
	Deleted bool
	// Revision is the product's own version, for those who compare the index with the catalog.
	Revision int64
	Title    string
	// Text is all that is searched beside the title.
	Text []string
	// Facets are name=value.
	Facets []string
	// Price is nil where none is known.
	Price       *int64
	InStock     bool
	PublishedAt time.Time
}

// Sort is the order of hits.
type Sort string

// The orders. Relevance is that of the terms; without terms it is Newest.
const (
	Relevance Sort = "relevance"
	Newest    Sort = "newest"
	Title     Sort = "title"
	Cheapest  Sort = "price"
	Dearest   Sort = "-price"
)

const (
	// MaxCounted is how many hits are counted and ranked. Where there are more, their order is
	// Newest instead of Relevance, and counts are what was counted.
	MaxCounted = 1_000
	// MaxValues is how many values of a facet are answered: those with most hits.
	MaxValues = 50
)

// Query asks for products.
type Query struct {
	// Terms must all be found; see Terms. Worded says that the customer typed something,
	// though it may hold no term, and then nothing is found.
	Terms  []string
	Worded bool
	// Filters are values by facet: one of each facet must be there.
	Filters            map[string][]string
	MinPrice, MaxPrice *int64
	InStock            bool
	Sort               Sort
	Limit              int
	After              *Cursor
	// Facets are the names of those to count. They and the total are left out behind the
	// first page.
	Facets []string
}

// Cursor is the place behind a hit. It stays where it is while products come, go and move:
// who follows it sees each product that did not move once.
type Cursor struct {
	Engine string `json:"e"`
	// Sort is the order in effect.
	Sort Sort `json:"s"`
	// Key and ID are those of the hit.
	Key string `json:"k"`
	ID  string `json:"i"`
	// Words is what the engine knew of words when the first page was found.
	Words int64 `json:"w,omitempty"`
}

// ErrCursor says that a text is no cursor, or that of another engine.
var ErrCursor = errors.New("not a cursor of this search")

// String makes it opaque.
func (c Cursor) String() string {
	b, _ := json.Marshal(c) // it has nothing that could fail
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what String wrote.
func ParseCursor(text, engine string) (*Cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrCursor
	}
	var c Cursor
	if err := json.Unmarshal(b, &c); err != nil || c.Engine != engine || c.ID == "" || !c.normalize() {
		return nil, ErrCursor
	}
	return &c, nil
}

// Fits reports whether a cursor can be one of the query.
func (q *Query) Fits(c *Cursor) bool {
	return c.Sort == q.Sort && (c.Sort != Relevance || len(q.Terms) > 0) || q.Sort == Relevance && c.Sort == Newest
}

// Result is a page of what was found.
type Result struct {
	IDs []string
	// Next is nil behind the last page.
	Next *Cursor
	// Total counts the hits, and Exact says that it is not more than that. Both are zero
	// behind the first page.
	Total int
	Exact bool
	// Facets are in the order of the query.
	Facets []Facet
}

// Facet is how many hits have each value, most first.
type Facet struct {
	Name   string
	Values []Value
}

// Value is a value of a facet.
type Value struct {
	Value string
	Count int
}

// ErrNotReady says that there is no index to search yet.
var ErrNotReady = errors.New("the search index is being built")

// Missing is the checkpoint of an index that does not exist.
const Missing = -1

// ErrUnavailable says that the engine does not answer, or has too much to do.
var ErrUnavailable = errors.New("the search engine is not available")

// ErrTaken says that there is no room for another index yet.
var ErrTaken = errors.New("no other index can be made yet")

// The engines, by the names that the setting has for them.
const (
	PostgresName   = "postgres"
	OpenSearchName = "opensearch"
)

// Others are the engines but one.
func Others(name string) []string {
	return slices.DeleteFunc([]string{PostgresName, OpenSearchName}, func(n string) bool { return n == name })
}

// Engine keeps indexes and searches the live one. It is safe for concurrent use.
type Engine interface {
	// Name is that of the setting.
	Name() string
	Search(ctx context.Context, q Query) (Result, error)
	// Propose names an index that could be made beside those that are there.
	Propose(taken []string) (string, error)
	// Create makes an empty index. It may be repeated until something is written.
	Create(ctx context.Context, index string) error
	// Write writes documents, one at most of each product, and returns which it could not write,
	// with the reason, which is ErrUnavailable where that passes by itself. A document that is older than what is there counts as written. checkpoint
	// grows from call to call; Checkpoint answers it as long as nothing of it is lost.
	Write(ctx context.Context, index string, docs []Document, checkpoint int64) (failed map[string]error, err error)
	// Checkpoint is the highest that was written; Missing where the index does not exist.
	Checkpoint(ctx context.Context, index string) (int64, error)
	// Point has searches use an index from now on.
	Point(ctx context.Context, index string) error
	// Drop deletes what is in an index. It may be repeated.
	Drop(ctx context.Context, index string) error
	// Read returns what the live index holds of the products, deleted ones too.
	Read(ctx context.Context, index string, ids []string) (map[string]Stored, error)
}

// Stored is what an index holds of a product, as far as it is compared with the catalog.
type Stored struct {
	Version, Revision int64
	Deleted           bool
	Price             *int64
	InStock           bool
}

// Weight orders hits that fit equally well: what is said in few words comes first.
func (d *Document) Weight() int { return max(0, maxWeight-len(Words(d.Title))) }

const maxWeight = 20

// keyTime is the form of a time in a cursor.
const keyTime = "2006-01-02T15:04:05.000000Z"

// normalize reports whether the engines can use a cursor, which customers can write by hand. It
// gives a time the one form that all of them take.
func (c *Cursor) normalize() bool {
	if strings.ContainsRune(c.ID+c.Key, 0) || len(c.ID)+len(c.Key) > maxCursor || c.Words < 0 {
		return false
	}
	switch c.Sort {
	case Title:
		return true
	case Newest:
		at, err := time.Parse(time.RFC3339Nano, c.Key)
		at = at.UTC()
		c.Key = at.Format(keyTime)
		return err == nil && at.Year() > 0 && at.Year() < 10_000
	case Relevance, Cheapest, Dearest:
		_, err := strconv.ParseInt(c.Key, 10, 64)
		return err == nil
	default:
		return false
	}
}

const maxCursor = 1_000

// maxSortTitle is up to where, in characters, titles are sorted: a cursor must hold that much,
// and so must an entry of PostgreSQL's index.
const maxSortTitle = 200

// sortTitle is what hits are sorted by title with.
func (d *Document) sortTitle() string {
	title := []rune(strings.Join(Words(d.Title), " "))
	return string(title[:min(len(title), maxSortTitle)])
}

// weighted returns the words of a document, and whether each stands in the title.
func (d *Document) weighted() map[string]bool {
	words := make(map[string]bool)
	for _, text := range d.Text {
		for _, word := range Words(text) {
			if len(words) < maxWords {
				words[word] = false
			}
		}
	}
	for _, word := range Words(d.Title) {
		words[word] = true
	}
	return words
}
