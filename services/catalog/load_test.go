package catalog

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// vocabulary makes words that look like words: n of them.
func vocabulary(n int, r *rand.Rand) []string {
	consonants, vowels := []string{"b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl"}, []string{"a", "e", "i", "o", "u", "ea", "ou"}
	words := make([]string, n)
	for i := range words {
		for range 2 + r.IntN(2) {
			words[i] += consonants[r.IntN(len(consonants))] + vowels[r.IntN(len(vowels))]
		}
		words[i] += consonants[r.IntN(len(consonants))]
	}
	return words
}

// often picks words as texts do: few are in many.
func often(words []string, r *rand.Rand) string {
	x := r.Float64()
	return words[int(x*x*x*float64(len(words)))]
}

// shopLines makes products with titles, texts, attributes.
func shopLines(n int, words []string, r *rand.Rand, take func(string)) {
	colours, sizes := []string{"red", "blue", "green", "white", "black", "grey", "pink", "silver"}, []string{"S", "M", "L", "XL"}
	text := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = often(words, r)
		}
		return strings.Join(list, " ")
	}
	for i := range n {
		colour := colours[r.IntN(len(colours))]
		take(fmt.Sprintf(`{"id": "p%06d", "state": "published", "title": "%s %s", "description": "%s", "attributes": [{"name": "colour", "value": "%[3]s"}, {"name": "size", "value": "%[5]s"}, {"name": "brand", "value": "%[6]s"}], "variants": [{"sku": "S%06[1]d"}]}`+"\n",
			i, text(3), colour, text(15), sizes[r.IntN(len(sizes))], words[r.IntN(200)]))
	}
}

// TestSearchLoad measures searches of a catalog at a steady rate, on this machine and with
// nothing else to do: QUADRILLE_SEARCH_LOAD=100000 go test -run TestSearchLoad -v .
func TestSearchLoad(t *testing.T) {
	size, err := strconv.Atoi(os.Getenv("QUADRILLE_SEARCH_LOAD"))
	if err != nil {
		t.Skip("QUADRILLE_SEARCH_LOAD says of how many products: this is a measurement, and takes minutes")
	}
	f := newFixture(t)
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test
	words := vocabulary(8_000, r)
	began := time.Now()
	var lines strings.Builder
	shopLines(size, words, r, func(line string) {
		lines.WriteString(line)
		if lines.Len() > 4<<20 {
			f.importLines(t, lines.String())
			lines.Reset()
		}
	})
	f.importLines(t, lines.String())
	t.Logf("imported %d products in %s", size, time.Since(began).Round(time.Millisecond))
	began = time.Now()
	f.index(t)
	t.Logf("indexed in %s", time.Since(began).Round(time.Millisecond))

	queries := make([]string, 3_000)
	for i := range queries {
		queries[i] = query(words, r)
	}
	measure(t, f, queries[:500], 100) // warm
	took := measure(t, f, queries, 100)
	for _, kind := range []string{"all", "browse", "word", "two", "begin", "part", "typo", "filter"} {
		list := took[kind]
		slices.Sort(list)
		if n := len(list); n > 0 {
			t.Logf("%-8s %5d searches: p50 %s, p90 %s, p99 %s, max %s", kind, n, list[n/2].Round(10*time.Microsecond),
				list[n*9/10].Round(10*time.Microsecond), list[n*99/100].Round(10*time.Microsecond), list[n-1].Round(10*time.Microsecond))
		}
	}
}

// query makes a search as customers type it, with its kind before it.
func query(words []string, r *rand.Rand) string {
	word := often(words, r)
	switch n := r.IntN(100); {
	case n < 10:
		return "browse facet=colour&facet=size&facet=brand"
	case n < 45:
		return "word q=" + word + "&facet=colour&facet=brand"
	case n < 65:
		return "two q=" + word + "+" + often(words, r) + "&facet=colour&facet=brand"
	case n < 78:
		return "begin q=" + word[:min(3, len(word))] + "&facet=colour"
	case n < 83:
		return "part q=" + word[1:]
	case n < 90:
		at := 1 + r.IntN(len(word)-1)
		return "typo q=" + word[:at] + "x" + word[at:] + "&facet=colour"
	default:
		return "filter q=" + word + "&attribute=colour:red&sort=newest&facet=size"
	}
}

// measure sends queries at a rate and returns how long answers took from when they were due.
func measure(t *testing.T, f *fixture, queries []string, rate int) map[string][]time.Duration {
	t.Helper()
	took := make(map[string][]time.Duration)
	var lock sync.Mutex
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for _, q := range queries {
		due := <-tick.C
		all.Go(func() {
			kind, query, _ := strings.Cut(q, " ")
			if a := f.public.Do(http.MethodGet, "/v1/search?"+query, ""); a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", query, a.Status, a.Body)
			}
			lock.Lock()
			defer lock.Unlock()
			took[kind] = append(took[kind], time.Since(due))
			took["all"] = append(took["all"], time.Since(due))
		})
	}
	all.Wait()
	return took
}
