// Package searchtest is what every search engine of catalog must hold.
package searchtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quadrille.internal/services/catalog/search"
)

// Fixture is an engine without any index.
type Fixture struct {
	search.Engine
	// Live notes in catalog's table that an index is the live one.
	Live func(t *testing.T, index string)
	// Refresh has searches see what was written.
	Refresh func(t *testing.T)
}

// Run runs the suite; open makes a fixture for each test.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*testing.T, *suite){
		"words": words, "relevance": relevance, "sorts": sorts, "filters": filters, "facets": facets, "many values": manyValues,
		"broad": broad, "late update": lateUpdate, "cursor while rows move": cursorWhileRowsMove, "every page": everyPage,
		"reindex under load": reindexUnderLoad, "strange queries": strangeQueries, "no index": noIndex, "written again": writtenAgain,
		"checkpoint": checkpoint, "new word": newWord, "long titles": longTitles,
	} {
		t.Run(name, func(t *testing.T) { test(t, &suite{Fixture: open(t)}) })
	}
}

// suite is a fixture with its live index.
type suite struct {
	Fixture
	index string
}

// build makes an index and has searches use it.
func (s *suite) build(t *testing.T, docs ...search.Document) {
	t.Helper()
	s.index = s.create(t)
	s.write(t, docs...)
	s.point(t, s.index)
}

func (s *suite) create(t *testing.T, taken ...string) string {
	t.Helper()
	name, err := s.Propose(taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *suite) point(t *testing.T, index string) {
	t.Helper()
	if err := s.Point(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	s.Live(t, index)
	s.index = index
}

func (s *suite) write(t *testing.T, docs ...search.Document) {
	t.Helper()
	s.writeTo(t, s.index, docs...)
	s.Refresh(t)
}

func (s *suite) writeTo(t *testing.T, index string, docs ...search.Document) {
	t.Helper()
	for batch := range slices.Chunk(docs, 500) {
		failed, err := s.Write(t.Context(), index, batch, 1)
		if err != nil || len(failed) > 0 {
			t.Fatalf("write: %v, failed %v", err, failed)
		}
	}
}

// find searches, with the words of text.
func (s *suite) find(t *testing.T, text string, q search.Query) search.Result {
	t.Helper()
	q.Terms, q.Worded = search.Terms(text), text != ""
	if q.Sort == "" {
		q.Sort = search.Relevance
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	result, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("search %q: %v", text, err)
	}
	return result
}

var epoch = time.Date(2026, 6, 15, 9, 30, 0, 123456000, time.UTC)

// doc is a document with a title, and attributes as name=value.
func doc(id, title string, facets ...string) search.Document {
	d := search.Document{ID: id, Version: 1, Revision: 1, Title: title, Facets: facets, PublishedAt: epoch}
	for _, f := range facets {
		_, value, _ := strings.Cut(f, "=")
		d.Text = append(d.Text, value)
	}
	return d
}

func tombstone(id string, version int64) search.Document {
	return search.Document{ID: id, Version: version, Deleted: true}
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

func words(t *testing.T, s *suite) {
	full := doc("teapot", "Blue TEAPOT, 1.5 l", "material=Stoneware", "colour=blue")
	full.Text = append(full.Text, "85123A", "Brews for six. Don't put it on a hob.", "Kitchen")
	s.build(t, full,
		doc("cups", "Café crème cups"), doc("jigsaw", "Jigsaw of Zürich & Straße"), doc("samovar", "Самовар медный"),
		doc("kettle", "赤い急須 600ml"), doc("greek", "Τσαγιέρα"), doc("hobby", "Hobbyhorse"), tombstone("gone", 1))
	for query, want := range map[string]string{
		"teapot": "teapot", "TeaPot": "teapot", "blue teapot": "teapot", "teapot blue": "teapot",
		"tea": "teapot", "te bl": "teapot", "pot": "teapot", "eapo": "teapot", // prefixes, parts
		"stoneware": "teapot", "stone": "teapot", "85123a": "teapot", "5123": "teapot", "kitchen": "teapot", "dont": "teapot", "don't": "teapot",
		"teepot": "teapot", "teapto": "teapot", "tepot": "teapot", "teappot": "teapot", "stonewear": "teapot", "stneware blue": "teapot", // typing errors
		"cafe": "cups", "CREME": "cups", "café crème": "cups", "zurich": "jigsaw", "strasse": "jigsaw", "straße": "jigsaw",
		"самовар": "samovar", "САМОВ": "samovar", "急須": "kettle", "赤い急須": "kettle", "600": "kettle", "ΤΣΑΓΙΕΡΑ": "greek", "τσαγιερα": "greek",
		"hob": "hobby,teapot", "teapot cups": "", "xyzzyx": "", "gone": "", "a": "teapot",
	} {
		got := s.find(t, query, search.Query{})
		if ids := strings.Join(sorted(got.IDs), ","); ids != want || got.Total != len(got.IDs) || !got.Exact {
			t.Errorf("%q finds %q (%d, exact %v), want %q", query, ids, got.Total, got.Exact, want)
		}
	}
	if got := s.find(t, "", search.Query{}); got.Total != 7 || len(got.IDs) != 7 {
		t.Errorf("nothing typed finds %v, %d", got.IDs, got.Total)
	}
}

func relevance(t *testing.T, s *suite) {
	inText := doc("in-text", "A cup with a long name")
	inText.Text = []string{"for lamp oil"}
	beginInText := doc("begin-in-text", "A cup")
	beginInText.Text = []string{"lamps"}
	s.build(t, doc("part", "Headlamp"), beginInText, inText, doc("begin", "Lampshade"), doc("title", "Reading lamp for many a long night"), doc("short", "Lamp"))
	got := s.find(t, "lamp", search.Query{})
	if want := []string{"short", "title", "in-text", "begin", "begin-in-text", "part"}; !slices.Equal(got.IDs, want) {
		t.Errorf("hits are in the order\n%v, want\n%v", got.IDs, want)
	}
}

func priced(d search.Document, price int64) search.Document {
	d.Price = &price
	return d
}

func sorts(t *testing.T, s *suite) {
	newest := priced(doc("newest", "b lamp"), 300)
	newest.PublishedAt = epoch.Add(time.Microsecond)
	s.build(t, newest, priced(doc("cheap", "É lamp"), 100), priced(doc("free", "a lamp"), 0), doc("unpriced", "c lamp"))
	for sort, want := range map[search.Sort]string{
		search.Newest:   "newest,unpriced,free,cheap",
		search.Title:    "free,newest,unpriced,cheap",
		search.Cheapest: "free,cheap,newest,unpriced",
		search.Dearest:  "newest,cheap,free,unpriced",
	} {
		for _, text := range []string{"", "lamp"} {
			if got := s.find(t, text, search.Query{Sort: sort}); strings.Join(got.IDs, ",") != want {
				t.Errorf("by %s, %q finds %v, want %s", sort, text, got.IDs, want)
			}
		}
	}
}

func filters(t *testing.T, s *suite) {
	inStock := priced(doc("in", "lamp", "category=lights", "colour=red"), 150)
	inStock.InStock = true
	s.build(t, inStock,
		priced(doc("out", "lamp", "category=lights", "colour=blue", "size=a=b, c:d"), 250),
		priced(doc("other", "lamp", "category=garden", "colour=red", "colour=blue"), 350), doc("none", "lamp"))
	number := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		q    search.Query
		want string
	}{
		"one":            {search.Query{Filters: map[string][]string{"colour": {"red"}}}, "in,other"},
		"either":         {search.Query{Filters: map[string][]string{"colour": {"red", "blue"}}}, "in,other,out"},
		"both":           {search.Query{Filters: map[string][]string{"colour": {"red"}, "category": {"lights"}}}, "in"},
		"case counts":    {search.Query{Filters: map[string][]string{"colour": {"Red"}}}, ""},
		"strange value":  {search.Query{Filters: map[string][]string{"size": {"a=b, c:d"}}}, "out"},
		"quotes":         {search.Query{Filters: map[string][]string{"size": {`"'\*%`}}}, ""},
		"price from":     {search.Query{MinPrice: number(250)}, "other,out"},
		"price to":       {search.Query{MaxPrice: number(250)}, "in,out"},
		"price within":   {search.Query{MinPrice: number(151), MaxPrice: number(349)}, "out"},
		"in stock":       {search.Query{InStock: true}, "in"},
		"in stock, blue": {search.Query{InStock: true, Filters: map[string][]string{"colour": {"blue"}}}, ""},
	} {
		for _, text := range []string{"", "lamp"} {
			if got := s.find(t, text, c.q); strings.Join(sorted(got.IDs), ",") != c.want {
				t.Errorf("%s: %q finds %v, want %s", name, text, got.IDs, c.want)
			}
		}
	}
}

func facets(t *testing.T, s *suite) {
	s.build(t, doc("a", "lamp", "colour=red", "size=s", "colours=none"), doc("b", "lamp", "colour=red", "colour=blue"), doc("c", "cup", "colour=blue"),
		tombstone("d", 1))
	for text, want := range map[string]string{
		"":     "[{size [{s 1}]} {colour [{blue 2} {red 2}]} {none []}]",
		"lamp": "[{size [{s 1}]} {colour [{red 2} {blue 1}]} {none []}]",
		"cup":  "[{size []} {colour [{blue 1}]} {none []}]",
		"x":    "[{size []} {colour []} {none []}]",
		"***":  "[{size []} {colour []} {none []}]",
	} {
		if got := s.find(t, text, search.Query{Facets: []string{"size", "colour", "none"}}); fmt.Sprint(got.Facets) != want {
			t.Errorf("%q has the facets %v, want %s", text, got.Facets, want)
		}
	}
	got := s.find(t, "", search.Query{Limit: 1, Sort: search.Title})
	if got = s.find(t, "", search.Query{Limit: 1, Sort: search.Title, After: got.Next, Facets: []string{"colour"}}); got.Total != 0 || len(got.Facets) > 0 {
		t.Errorf("the second page counts %d and %v again", got.Total, got.Facets)
	}
}

// A facet of very many values answers those with most hits.
func manyValues(t *testing.T, s *suite) {
	var docs []search.Document
	for i := range 900 {
		d := doc(fmt.Sprintf("p%04d", i), "lamp", "size=common")
		for j := range 12 { // 10,800 in all
			d.Facets = append(d.Facets, fmt.Sprintf("batch=b%05d", 12*i+j))
		}
		if i%2 == 0 {
			d.Facets = append(d.Facets, "batch=even")
		}
		docs = append(docs, d)
	}
	s.build(t, docs...)
	got := s.find(t, "lamp", search.Query{Facets: []string{"batch", "size"}, Limit: 1})
	if len(got.Facets) != 2 || len(got.Facets[0].Values) != search.MaxValues || got.Facets[0].Values[0] != (search.Value{Value: "even", Count: 450}) {
		t.Errorf("the facets are %v", got.Facets)
	}
	if v := got.Facets[1].Values; len(v) != 1 || v[0].Count != 900 {
		t.Errorf("the other facet is %v", v)
	}
}

// What nearly everything has is not ranked; all of it can still be paged through.
func broad(t *testing.T, s *suite) {
	var docs []search.Document
	for i := range search.MaxCounted + 10 {
		d := doc(fmt.Sprintf("p%05d", i), "lamp")
		d.PublishedAt = epoch.Add(-time.Duration(i) * time.Minute) // against the order of ids
		docs = append(docs, d)
	}
	s.build(t, docs...)
	for _, text := range []string{"lamp", ""} {
		got := s.find(t, text, search.Query{Limit: 10})
		if got.Exact || got.Total != search.MaxCounted || got.IDs[0] != docs[0].ID {
			t.Errorf("%q finds %d, exact %v, first %s", text, got.Total, got.Exact, got.IDs[0])
		}
		next := s.find(t, text, search.Query{Limit: 10, After: got.Next})
		if next.IDs[0] != docs[10].ID {
			t.Errorf("%q goes on with %s", text, next.IDs[0])
		}
	}
}

// Our redelivery takes days: however late an old state comes, it stays old.
func lateUpdate(t *testing.T, s *suite) {
	version := func(n int64, title string) search.Document {
		d := doc("p", title)
		d.Version, d.Revision = n, n
		return d
	}
	s.build(t, version(1, "first"))
	s.write(t, version(5, "fifth"))
	s.write(t, version(3, "third"))
	if got := s.find(t, "fifth", search.Query{}); len(got.IDs) != 1 {
		t.Error("an older state took the place of a newer one")
	}
	s.write(t, tombstone("p", 7))
	s.write(t, version(6, "sixth"))
	if got := s.find(t, "", search.Query{}); len(got.IDs) != 0 {
		t.Errorf("a late update brought back %v", got.IDs)
	}
	stored, err := s.Read(t.Context(), s.index, []string{"p", "q"})
	if err != nil || len(stored) != 1 || !stored["p"].Deleted || stored["p"].Version != 7 {
		t.Errorf("the index has %+v, %v", stored, err)
	}
	s.write(t, version(8, "eighth"))
	if got := s.find(t, "eighth", search.Query{}); len(got.IDs) != 1 {
		t.Error("a newer state did not bring it back")
	}
}

func writtenAgain(t *testing.T, s *suite) {
	d := priced(doc("p", "lamp", "colour=red"), 5)
	d.InStock = true
	s.build(t, d, doc("q", "lamp"))
	s.write(t, d)
	stored, err := s.Read(t.Context(), s.index, []string{"p", "q"})
	if p := stored["p"]; err != nil || p.Version != 1 || p.Revision != 1 || p.Deleted || !p.InStock || p.Price == nil || *p.Price != 5 {
		t.Errorf("the index has %+v, %v", stored, err)
	}
	if q := stored["q"]; q.Price != nil || q.InStock {
		t.Errorf("the index has %+v", q)
	}
}

func checkpoint(t *testing.T, s *suite) {
	s.build(t, doc("p", "lamp"))
	for _, n := range []int64{7, 5} {
		if _, err := s.Write(t.Context(), s.index, []search.Document{tombstone("q", n)}, n); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Checkpoint(t.Context(), s.index); err != nil || got < 7 {
		t.Errorf("the checkpoint is %d, %v, want 7", got, err)
	}
}

func noIndex(t *testing.T, s *suite) {
	if _, err := s.Search(t.Context(), search.Query{Limit: 1, Sort: search.Newest}); err != search.ErrNotReady { //nolint:errorlint // it is that
		t.Errorf("without an index: %v", err)
	}
}

func strangeQueries(t *testing.T, s *suite) {
	s.build(t, doc("p", "lamp 100% cotton"))
	for _, text := range []string{
		strings.Repeat("a", 10_000), strings.Repeat("lamp ", 2_000), strings.Repeat("%", 200), strings.Repeat("*", 200),
		"%", "_", "*", "?", "lam?", "l*p", "lamp*", "-lamp", "+lamp", "lamp AND NOT cup", "lamp:*", "'; drop table products; --",
		`"lamp`, "(lamp", "lamp)", "/lamp/", `\`, "a:b", "lamp~2", "lamp^9", "\x00", "\xff", "\u202elamp", "😀", "ﷺ", "́", strings.Repeat("😀", 500),
		"ÄÖÜ", "لامپ", "מנורה", "램프", "ランプ", "灯", "lamp\tlamp\nlamp",
	} {
		got := s.find(t, text, search.Query{Facets: []string{"colour"}})
		if len(got.IDs) > 1 || got.Total != len(got.IDs) {
			t.Errorf("%.20q finds %v, %d", text, got.IDs, got.Total)
		}
	}
	if got := s.find(t, "100%", search.Query{}); len(got.IDs) != 1 {
		t.Error("a number with a sign is not found")
	}
	for _, text := range []string{"%", "_", "*", "?", strings.Repeat("*", 200), "l*p", "l_%p"} {
		if got := s.find(t, text, search.Query{}); len(got.IDs) != 0 {
			t.Errorf("%.20q finds what it would stand for", text)
		}
	}
}
