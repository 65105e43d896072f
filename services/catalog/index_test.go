package catalog

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog/search"
)

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// newFaulty is a fixture whose engine can be made to refuse.
func newFaulty(t *testing.T) (*fixture, *faulty) {
	t.Helper()
	kit := servicetest.NewKit(t, Service())
	engine := &faulty{Engine: search.NewPostgres(kit.Pool), items: map[string]error{}}
	return fixtureOn(t, kit, engine), engine
}

// retry makes what waits after a failure due.
func (f *fixture) retry(t *testing.T) {
	t.Helper()
	servicetest.Exec(t, f.kit.Pool, `update search_changes set claimed_until = '-infinity'`)
}

func TestTheIndexFollowsTheCatalog(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"published"`, `"draft"`, 1))
	for _, step := range []struct{ state, title, want string }{
		{"draft", "Lamp", ""}, {"published", "Lamp", "lamp"}, {"published", "Lantern", ""}, {"published", "Lamp", "lamp"}, {"retired", "Lamp", ""}, {"published", "Lamp", "lamp"},
	} {
		f.put(t, "/v1/products/lamp", strings.NewReplacer(`"published"`, `"`+step.state+`"`, `"Lamp"`, `"`+step.title+`"`, "LAMP-1", "SKU").Replace(lamp))
		f.index(t)
		if got := f.found(t, "q=lamp"); got != step.want {
			t.Errorf("%s as %s: found is %q, want %q", step.state, step.title, got, step.want)
		}
	}
}

// One item that the engine refuses is tried again, and the others of its batch are not.
func TestARefusedItemIsTriedAgain(t *testing.T) {
	f, engine := newFaulty(t)
	for _, id := range []string{"a", "b", "c"} {
		f.put(t, "/v1/products/"+id, strings.Replace(lamp, "LAMP-1", id, 1))
	}
	f.build(t)
	f.put(t, "/v1/products/b", strings.NewReplacer("LAMP-1", "b", "Lamp", "Lantern").Replace(lamp))
	engine.items["b"] = errors.New("mapper_parsing_exception")
	f.index(t)
	if got := f.found(t, "q=lantern"); got != "" {
		t.Errorf("found are %s", got)
	}
	if n := f.changes(t); n != 2 {
		t.Errorf("%d changes wait, want those of b", n)
	}
	delete(engine.items, "b")
	f.retry(t)
	f.index(t)
	if got := f.found(t, "q=lantern"); got != "b" || f.changes(t) != 0 {
		t.Errorf("found are %s, %d wait", got, f.changes(t))
	}
}

// Where the engine is away, nothing is lost, writing goes on, and the changes are due at once
// when it is back.
func TestTheEngineIsAway(t *testing.T) {
	f, engine := newFaulty(t)
	f.build(t)
	engine.all = search.ErrUnavailable
	f.put(t, "/v1/products/lamp", lamp)
	if _, err := f.indexer.batch(t.Context()); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("the batch ends with %v", err)
	}
	engine.all = nil
	f.index(t)
	if got := f.found(t, "q=lamp"); got != "lamp" {
		t.Errorf("found is %q", got)
	}
}

// A replica that read a product before it was retired, and writes after, changes nothing.
func TestALateWriterChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.build(t)
	late, err := f.indexer.claim(t.Context())
	if err != nil || len(late.docs) != 1 || late.docs[0].Deleted {
		t.Fatalf("claimed %+v, %v", late, err)
	}
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"published"`, `"retired"`, 1))
	f.index(t)
	if _, err := f.engine.Write(t.Context(), late.indexes[0].Name, late.docs, late.checkpoint); err != nil {
		t.Fatal(err)
	}
	if err := f.indexer.settle(t.Context(), late, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.found(t, "q=lamp"); got != "" {
		t.Errorf("what is retired is found: %s", got)
	}
	f.checkIndex(t)
}

// checkIndex proves that index and catalog agree, in both ways to do so.
func (f *fixture) checkIndex(t *testing.T) {
	t.Helper()
	f.index(t)
	for cursor := ""; ; {
		a := f.client.Do(http.MethodGet, "/v1/search/faults?limit=3&cursor="+cursor, "")
		var page struct {
			Faults []faultView `json:"faults"`
			Next   string      `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(a.Body), &page); err != nil || a.Status != http.StatusOK || len(page.Faults) > 0 {
			t.Errorf("compared: %d %s", a.Status, a.Body)
			return
		}
		if cursor = page.Next; cursor == "" {
			return
		}
	}
}

// While products and their stock change all the time, by several writers and indexed by two replicas, an index
// is built and takes the place of the first. No search misses what is always there, and in the
// end index and catalog agree.
func TestReindexWhileProductsChange(t *testing.T) {
	f := newFixture(t)
	const always = 40
	var lines strings.Builder
	for i := range 2 * always {
		fmt.Fprintf(&lines, `{"id": "p%02d", "state": "published", "title": "Lamp", "variants": [{"sku": "S%02d"}]}`+"\n", i, i)
	}
	f.importLines(t, lines.String())
	f.index(t)
	stopIndexer := servicetest.Run(t, f.indexer.sweep().Run)
	stopOther := servicetest.Run(t, (&indexer{pool: f.kit.Pool, engine: f.engine, log: f.kit.Log}).sweep().Run)
	stopBuilder := servicetest.Run(t, f.builder.sweep().Run)

	var busy sync.WaitGroup
	done := make(chan struct{})
	for writer := range 3 {
		busy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				// The first stay published under other titles, the others come and go.
				state, id := "published", fmt.Sprintf("p%02d", (n*3+writer)%always)
				if n%2 == 0 {
					state, id = []string{"published", "retired"}[n/2%2], fmt.Sprintf("p%02d", always+(n*3+writer)%always)
				}
				f.importLines(t, fmt.Sprintf(`{"id": %q, "state": %q, "title": "Lamp %d", "variants": [{"sku": "S%s"}]}`, id, state, n, id[1:]))
			}
		})
	}
	in := servicetest.RunInbox(t, f.kit, handle)
	busy.Go(func() {
		for version := int64(1); ; version++ {
			changed := servicetest.Message(t, stockChanged(version, version%2, "S00", "S01", "S40", "S41", "S79"), time.Now())
			for len(in.Try(changed)) > 0 { // others are in the way
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	busy.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			got := f.found(t, "q=lamp&limit=100&sort=title")
			for i := range always {
				if id := fmt.Sprintf("p%02d", i); !strings.Contains(got, id) {
					t.Errorf("a search misses %s", id)
					return
				}
			}
		}
	})
	live := func() (name string) {
		if err := f.kit.Pool.QueryRow(t.Context(), `select name from search_indexes where status = 'live'`).Scan(&name); err != nil {
			t.Error(err)
		}
		return name
	}
	before := live()
	for range 2 {
		if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != http.StatusAccepted && a.Problem().Code != "reindex_under_way" {
			t.Errorf("reindex: %d %s", a.Status, a.Body)
		}
	}
	servicetest.Await(t, "another index is live", func() bool { return live() != before })
	close(done)
	busy.Wait()
	stopIndexer()
	stopOther()
	stopBuilder()
	f.retry(t)
	f.checkIndex(t)
}

// What changes while an index is built comes to it too, though it is filled with that product
// already.
func TestChangesComeToAnIndexThatIsBuilt(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != http.StatusAccepted {
		t.Fatalf("reindex: %d %s", a.Status, a.Body)
	}
	for range 2 { // created, and filled
		if _, err := f.builder.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"Lamp"`, `"Lantern"`, 1))
	if _, err := f.indexer.batch(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.build(t)
	if got := f.found(t, "q=lantern"); got != "lamp" {
		t.Errorf("found is %q", got)
	}
	f.checkIndex(t)
}

// An index that has less than it confirmed is from an older time: another is built, and the
// old one is searched meanwhile.
func TestAnOldIndexIsReplaced(t *testing.T) {
	f, engine := newFaulty(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"Lamp"`, `"Lantern"`, 1))
	f.index(t)
	// The server comes back as it was before.
	old := search.Document{ID: "lamp", Version: 100, Revision: 1, Title: "Lamp", PublishedAt: epoch}
	var live string
	if err := f.kit.Pool.QueryRow(t.Context(), `select name from search_indexes where status = 'live'`).Scan(&live); err != nil {
		t.Fatal(err)
	}
	if _, err := f.engine.Write(t.Context(), live, []search.Document{old}, 0); err != nil {
		t.Fatal(err)
	}
	lost := int64(1)
	engine.has = &lost
	if _, err := f.builder.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.found(t, "q=lamp"); got != "lamp" {
		t.Errorf("meanwhile found is %q", got)
	}
	engine.has = nil
	f.build(t)
	if got := f.found(t, "q=lantern"); got != "lamp" {
		t.Errorf("found is %q", got)
	}
	f.checkIndex(t)
}

// A change may come to an index from an older time before anybody looks at it. It does not
// hide what the index has lost.
func TestAnOldIndexIsReplacedThoughChangesComeFirst(t *testing.T) {
	f, engine := newFaulty(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	// The server has lost the product, and comes back with the checkpoint of before.
	servicetest.Exec(t, f.kit.Pool, `delete from search_documents_a`)
	lost := int64(0)
	engine.has = &lost
	f.put(t, "/v1/products/cup", strings.NewReplacer("LAMP-1", "CUP-1", "Lamp", "Cup").Replace(lamp))
	if _, err := f.indexer.batch(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.build(t)
	if got := f.found(t, "q=lamp"); got != "lamp" {
		t.Errorf("found is %q, want what the old index has lost", got)
	}
	f.checkIndex(t)
}

// One replica makes, or clears, an index at a time: one that is slow must not empty what
// another has filled meanwhile.
func TestASlowReplicaEmptiesNoIndex(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	// beside has a replica begin a step, and another go on before the first has done it, where
	// an operator asks for another index as soon as there is room, if he does.
	beside := func(asked bool) {
		t.Helper()
		slow := *f.builder
		engine := &slowEngine{Engine: f.engine, begun: make(chan struct{}), end: make(chan struct{})}
		slow.engine = engine
		var working sync.WaitGroup
		working.Go(func() {
			if _, err := slow.step(t.Context()); err != nil {
				t.Error(err)
			}
		})
		<-engine.begun
		for range 4 {
			if _, err := f.builder.step(t.Context()); err != nil {
				t.Error(err)
			}
			if !asked {
				continue
			}
			if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != http.StatusAccepted && a.Problem().Code != "reindex_under_way" {
				t.Errorf("reindex: %d %s", a.Status, a.Body)
			}
		}
		close(engine.end)
		working.Wait()
		f.index(t)
		if got := f.found(t, "q=lamp"); got != "lamp" {
			t.Errorf("found is %q", got)
		}
		f.checkIndex(t)
	}
	begin := func() {
		t.Helper()
		if err := f.builder.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	beside(false) // one makes the first index
	begin()
	f.build(t)
	f.builder.searchesEnd = 0
	beside(true) // one clears the first, which is no longer live
}

// What the engine has no time for while an index is filled is written before searches use it.
func TestAnIndexIsFilledBeforeItIsLive(t *testing.T) {
	f, engine := newFaulty(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != http.StatusAccepted {
		t.Fatalf("reindex: %d %s", a.Status, a.Body)
	}
	engine.items["lamp"] = fmt.Errorf("%w: 429", search.ErrUnavailable)
	for range 5 {
		if _, err := f.builder.step(t.Context()); err != nil && !errors.Is(err, search.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if got := f.found(t, "q=lamp"); got != "lamp" {
		t.Errorf("while the engine refuses, found is %q", got)
	}
	delete(engine.items, "lamp")
	f.build(t)
	var live string
	if err := f.kit.Pool.QueryRow(t.Context(), `select name from search_indexes where status = 'live'`).Scan(&live); err != nil || live != "b" {
		t.Errorf("live is %q, %v, want the new index", live, err)
	}
	f.checkIndex(t)
}

// An index that another engine's replicas have not written to is not trusted again.
func TestAnIndexOfAnotherEngineMissesChanges(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	servicetest.Exec(t, f.kit.Pool, `insert into search_indexes (name, engine, status) values ('other', 'opensearch', 'live')`)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"Lamp"`, `"Lantern"`, 1))
	f.index(t)
	var stale string
	if err := f.kit.Pool.QueryRow(t.Context(), `select string_agg(name, ',') from search_indexes where stale`).Scan(&stale); err != nil || stale != "other" {
		t.Errorf("stale are %q, %v", stale, err)
	}
}

func TestChangesAreComparedWithTheIndex(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"a", "b", "c"} {
		f.put(t, "/v1/products/"+id, strings.Replace(lamp, "LAMP-1", id, 1))
	}
	f.index(t)
	f.checkIndex(t)
	servicetest.Exec(t, f.kit.Pool, `delete from search_documents_a where product_id = 'a'`)
	servicetest.Exec(t, f.kit.Pool, `update search_documents_a set revision = 9 where product_id = 'b'`)
	servicetest.Exec(t, f.kit.Pool, `update search_documents_a set in_stock = true where product_id = 'c'`)
	a := f.client.Do(http.MethodGet, "/v1/search/faults", "")
	for _, want := range []string{"not found", "version 9", "in stock"} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("compared: %s, want %q", a.Body, want)
		}
	}
	// An old document that came late, in its old version.
	servicetest.Exec(t, f.kit.Pool, `update search_documents_a set version = version - 1, revision = 0 where product_id = 'b'`)
	if a := f.client.Do(http.MethodGet, "/v1/search/faults", ""); !strings.Contains(a.Body, "version 0") {
		t.Errorf("compared: %s, want a fault of an old version", a.Body)
	}
	// What waits for the index is no fault.
	f.put(t, "/v1/products/a", strings.Replace(lamp, `"sku": "LAMP-1"`, `"sku": "a2"`, 1))
	if a := f.client.Do(http.MethodGet, "/v1/search/faults", ""); strings.Contains(a.Body, `"a"`) {
		t.Errorf("compared: %s", a.Body)
	}
}

// oldest is for how long something waits, which is a second where the machine is busy.
var oldest = regexp.MustCompile(`:[0-9]{1,2}}`)

func TestOperatorsSeeTheIndex(t *testing.T) {
	f := newFixture(t)
	f.build(t)
	f.put(t, "/v1/products/lamp", lamp)
	a := f.client.Do(http.MethodGet, "/v1/search/index", "")
	if want := `{"engine":"postgres","indexes":[{"name":"a","status":"live","stale":false}],"waiting":{"changes":1,"oldest_seconds":0}}` + "\n"; oldest.ReplaceAllString(a.Body, `:0}`) != want {
		t.Errorf("the index is %s, want %s", a.Body, want)
	}
	for i, want := range []int{http.StatusAccepted, http.StatusConflict} {
		if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != want {
			t.Errorf("reindex %d: %d %s", i, a.Status, a.Body)
		}
	}
}

// An index that is lost while it is being built is given up, and another is built.
func TestAnIndexIsLostWhileItIsBuilt(t *testing.T) {
	f, engine := newFaulty(t)
	f.put(t, "/v1/products/lamp", lamp)
	for range 3 { // begun, created, and the first products written
		if _, err := f.builder.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lost := int64(search.Missing)
	engine.has = &lost
	if _, err := f.builder.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.has = nil
	f.index(t)
	if got := f.found(t, "q=lamp"); got != "lamp" {
		t.Errorf("found is %q", got)
	}
	var live string
	if err := f.kit.Pool.QueryRow(t.Context(), `select name from search_indexes where status = 'live'`).Scan(&live); err != nil || live != "b" {
		t.Errorf("live is %q, %v", live, err)
	}
}

// While the engine is away, searches are answered 503, and all else goes on.
func TestSearchesWhileTheEngineIsAway(t *testing.T) {
	f, engine := newFaulty(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	engine.all = fmt.Errorf("%w: refused", search.ErrUnavailable)
	for _, a := range []servicetest.Answer{f.public.Do(http.MethodGet, "/v1/search?q=lamp", ""), f.client.Do(http.MethodGet, "/v1/search/faults", "")} {
		if a.Status != http.StatusServiceUnavailable || a.Problem().Code != "search_unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"Lamp"`, `"Lantern"`, 1))
	if a := f.public.Do(http.MethodGet, "/v1/products/lamp", ""); !strings.Contains(a.Body, "Lantern") {
		t.Errorf("the product is %s", a.Body)
	}
}

// A search that began before another index became live still finds all in the old one.
func TestAnOldIndexIsKeptUntilSearchesEnd(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	if a := f.client.Do(http.MethodPost, "/v1/search/index", ""); a.Status != http.StatusAccepted {
		t.Fatalf("reindex: %d %s", a.Status, a.Body)
	}
	f.build(t)
	kept := func() (n int) {
		if err := f.kit.Pool.QueryRow(t.Context(), `select count(*) from search_documents_a`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := kept(); n != 1 {
		t.Errorf("the old index has %d documents", n)
	}
	f.builder.searchesEnd = 0
	f.build(t)
	if n := kept(); n != 0 {
		t.Errorf("once searches have ended, the old index has %d documents", n)
	}
}

// A description of many words, as of a script whose words are pairs of letters, leaves room
// for all else that a product is searched by.
func TestALongDescriptionHidesNothing(t *testing.T) {
	f := newFixture(t)
	var text strings.Builder
	for i := range 9_000 {
		text.WriteRune(rune(0x4e00 + i))
	}
	f.put(t, "/v1/products/lamp", strings.NewReplacer("Gives light.", text.String(), `"attributes": []}]`, `"attributes": [{"name": "shade", "value": "Linen"}]}]`).Replace(lamp))
	f.index(t)
	for _, query := range []string{"q=lamp-1", "q=red", "q=linen", "q=" + url.QueryEscape("一丁")} {
		if got := f.found(t, query); got != "lamp" {
			t.Errorf("%s finds %q", query, got)
		}
	}
}

func TestAttributesAreSearched(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"attributes": []}]`, `"attributes": [{"name": "shade", "value": "Linen"}]}]`, 1))
	f.index(t)
	for _, query := range []string{"q=red", "q=linen", "q=lamp-1", "q=light", "attribute=shade:Linen&attribute=colour:red"} {
		if got := f.found(t, query); got != "lamp" {
			t.Errorf("%s finds %q", query, got)
		}
	}
}
