package searchtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog/search"
)

var allSorts = []search.Sort{search.Relevance, search.Newest, search.Title, search.Cheapest, search.Dearest}

// walk reads all pages, and calls between them.
func (s *suite) walk(t *testing.T, text string, q search.Query, between func()) (ids []string) {
	t.Helper()
	for range 1_000 {
		page := s.find(t, text, q)
		ids = append(ids, page.IDs...)
		if page.Next == nil {
			return ids
		}
		// As the caller has it.
		after, err := search.ParseCursor(page.Next.String(), s.Name())
		if err != nil {
			t.Fatal(err)
		}
		if q.After = after; between != nil {
			between()
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

// random makes documents with the same words, and much that is equal in them.
func random(n int, r *rand.Rand) []search.Document {
	docs := make([]search.Document, n)
	titles := []string{"lamp", "red lamp", "lampshade of lamp", "headlamp lamp", "Lamp of a red lamp"}
	for i := range docs {
		docs[i] = doc(fmt.Sprintf("p%03d", i), titles[r.IntN(len(titles))], fmt.Sprintf("colour=c%d", r.IntN(3)))
		docs[i].PublishedAt = epoch.Add(time.Duration(r.IntN(5)) * time.Hour)
		if r.IntN(4) > 0 {
			docs[i] = priced(docs[i], int64(r.IntN(4)))
		}
	}
	return docs
}

// In every order, pages of any size have each hit once, in the order of one large page.
func everyPage(t *testing.T, s *suite) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	s.build(t, random(90, r)...)
	for _, text := range []string{"", "lamp", "lmap", "amp"} {
		for _, sort := range allSorts {
			whole := s.find(t, text, search.Query{Sort: sort, Limit: 100})
			if len(whole.IDs) != 90 || whole.Next != nil {
				t.Fatalf("%q finds %d by %s", text, len(whole.IDs), sort)
			}
			for _, limit := range []int{1 + r.IntN(30), 30, 45, 90} {
				if got := s.walk(t, text, search.Query{Sort: sort, Limit: limit}, nil); !slices.Equal(got, whole.IDs) {
					t.Errorf("%q by %s in pages of %d:\n%v, want\n%v", text, sort, limit, got, whole.IDs)
				}
			}
		}
	}
}

// A title may be so long that a cursor could not hold it.
func longTitles(t *testing.T, s *suite) {
	var docs []search.Document
	for i := range 3 {
		d := doc(fmt.Sprint("p", i), "")
		for n := range 200 { // of a script whose words are pairs of letters, and all differ
			d.Title += string(rune(0x4e00 + 7*n))
		}
		for _, letter := range []rune{'ﷺ', '㌀', '𐌰'} { // that are several letters, or of four bytes
			long := doc(fmt.Sprintf("q%d%c", i, letter), strings.Repeat(string(letter), 200))
			docs = append(docs, long)
		}
		docs = append(docs, d)
	}
	s.build(t, docs...)
	if got := s.walk(t, "", search.Query{Sort: search.Title, Limit: 1}, nil); len(got) != len(docs) {
		t.Errorf("the pages have %v", got)
	}
}

// While products come, go and change, those that stay as they are come once each.
func cursorWhileRowsMove(t *testing.T, s *suite) {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	docs := random(60, r)
	s.build(t, docs...)
	version, n := int64(1), 0
	for _, text := range []string{"", "lamp", "amp"} {
		for _, sort := range allSorts {
			// The first 30 stay; one of the others changes, one goes and one comes with each page.
			got := s.walk(t, text, search.Query{Sort: sort, Limit: 13}, func() {
				version++
				moved := random(60, r)[30+r.IntN(30)]
				moved.Version = version
				n++
				added := random(1, r)[0]
				added.ID, added.Title = fmt.Sprintf("new-%d", n), fmt.Sprintf("%s lamp%dx", added.Title, n%20)
				s.writeTo(t, s.index, moved, added)
				s.write(t, tombstone(fmt.Sprintf("p%03d", 30+r.IntN(30)), version))
			})
			seen := make(map[string]int)
			for _, id := range got {
				seen[id]++
			}
			for _, d := range docs[:30] {
				if seen[d.ID] != 1 {
					t.Errorf("%q by %s: %s came %d times", text, sort, d.ID, seen[d.ID])
				}
			}
		}
	}
}

// A word that comes between two pages does not change what the others are about, though it is
// just what was typed.
func newWord(t *testing.T, s *suite) {
	var docs []search.Document
	for i := range 6 {
		docs = append(docs, doc(fmt.Sprint("p", i), "lamp"))
	}
	s.build(t, docs...)
	n := 0
	got := s.walk(t, "lmap", search.Query{Limit: 2}, func() {
		n++
		s.write(t, doc(fmt.Sprint("new", n), "lmap"))
	})
	if len(slices.DeleteFunc(got, func(id string) bool { return id[0] == 'n' })) != len(docs) {
		t.Errorf("the pages have %v", got)
	}
}

// While another index is built from what changes all the time and takes the place of the
// first, every search finds what is always there, and nothing is lost that was written.
func reindexUnderLoad(t *testing.T, s *suite) {
	r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // a test
	docs := random(300, r)
	s.build(t, docs...)
	first := s.index
	ctx, stop := context.WithCancel(t.Context())
	var searching sync.WaitGroup
	var searches atomic.Int64
	for range 2 {
		searching.Go(func() {
			for ctx.Err() == nil {
				got, err := s.Search(t.Context(), search.Query{Terms: []string{"lamp"}, Worded: true, Sort: search.Newest, Limit: 1_000}) //nolint:contextcheck // ctx ends the loop, and cuts no search
				if err != nil || len(got.IDs) != len(docs) || got.Total != len(docs) {
					t.Errorf("while another index is built: %d hits, total %d, %v", len(got.IDs), got.Total, err)
					return
				}
				searches.Add(1)
			}
		})
	}
	second := s.create(t, first)
	for batch := range slices.Chunk(docs, 50) {
		// A change comes to both, the filling with what was read before it to the new one.
		changed := batch[0]
		changed.Version, changed.Title = 9, "changed lamp"
		s.writeTo(t, first, changed)
		s.writeTo(t, second, changed)
		s.writeTo(t, second, batch...)
	}
	s.Refresh(t)
	s.point(t, second)
	before := searches.Load()
	servicetest.Await(t, "some more searches", func() bool { return searches.Load() >= before+4 || t.Failed() })
	stop()
	searching.Wait()
	if err := s.Drop(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := s.find(t, "changed", search.Query{}); got.Total != 6 {
		t.Errorf("%d changes were kept, want 6", got.Total)
	}
	if got := s.find(t, "", search.Query{Sort: search.Newest, Limit: 1_000}); len(got.IDs) != len(docs) {
		t.Errorf("%d hits are left", len(got.IDs))
	}
}
