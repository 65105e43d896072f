package catalog

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"go.uber.org/goleak"

	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog/search"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

// fixture is the service on a database of its own. Its workers run when a test says so.
type fixture struct {
	kit     *service.Kit
	engine  search.Engine
	indexer *indexer
	builder *builder
	client  *servicetest.Client
	public  *servicetest.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	kit := servicetest.NewKit(t, Service())
	return fixtureOn(t, kit, search.NewPostgres(kit.Pool))
}

func fixtureOn(t *testing.T, kit *service.Kit, engine search.Engine) *fixture {
	t.Helper()
	f := &fixture{kit: kit, engine: engine,
		indexer: &indexer{pool: kit.Pool, engine: engine, log: kit.Log, currency: "GBP"},
		builder: &builder{pool: kit.Pool, engine: engine, log: kit.Log, currency: "GBP", searchesEnd: searchesEnd},
	}
	s := &server{pool: kit.Pool, outbox: kit.Outbox, engine: engine, api: kit.API, builder: f.builder, currency: "GBP", changed: func() {}}
	f.client = servicetest.Serve(t, s.operatorRoutes)
	f.public = servicetest.Serve(t, func(r chi.Router) { s.routes(r) })
	return f
}

// build has indexes built until there is nothing to do.
func (f *fixture) build(t *testing.T) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = f.builder.step(t.Context()); err != nil {
			t.Fatalf("build: %v", err)
		}
	}
}

// index writes all changes into the index.
func (f *fixture) index(t *testing.T) {
	t.Helper()
	f.build(t)
	for left := 1; left > 0; {
		if _, err := f.indexer.batch(t.Context()); err != nil {
			t.Fatalf("index: %v", err)
		}
		if err := f.kit.Pool.QueryRow(t.Context(), `select count(*) from search_changes where claimed_until < now()`).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
}

// lamp is a product as operators write it.
const lamp = `{"state": "published", "title": "Lamp", "description": "Gives light.", "categories": [],
	"attributes": [{"name": "colour", "value": "red"}], "variants": [{"sku": "LAMP-1", "title": "", "attributes": []}],
	"media": [{"kind": "image", "url": "https://media.example.com/lamp.jpg", "alt": "A lamp"}]}`

// put writes a product, or a category, whatever it is now, and returns its version.
func (f *fixture) put(t *testing.T, path, body string) string {
	t.Helper()
	header := []string{"If-None-Match", "*"}
	for _, client := range []*servicetest.Client{f.client, f.public} {
		if had := client.Do(http.MethodGet, path, ""); had.Status == http.StatusOK {
			header = []string{"If-Match", had.Header.Get("ETag")}
		}
	}
	a := f.client.Do(http.MethodPut, path, body, header...)
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		t.Fatalf("PUT %s: %d %s", path, a.Status, a.Body)
	}
	return a.Header.Get("ETag")
}

// found are the ids of the hits.
func (f *fixture) found(t *testing.T, query string) string {
	t.Helper()
	a := f.public.Do(http.MethodGet, "/v1/search?"+query, "")
	var view searchView
	if err := json.Unmarshal([]byte(a.Body), &view); err != nil || a.Status != http.StatusOK {
		t.Fatalf("search %s: %d %s", query, a.Status, a.Body)
	}
	var ids []string
	for _, h := range view.Hits {
		ids = append(ids, h.ID)
	}
	return strings.Join(ids, ",")
}

// stock has the service hear what there is of SKUs.
func (f *fixture) stock(t *testing.T, version int64, available int64, skus ...string) {
	t.Helper()
	servicetest.RunInbox(t, f.kit, handle).Deliver(servicetest.Message(t, stockChanged(version, available, skus...), time.Now()))
}

func stockChanged(version int64, available int64, skus ...string) (changed inventory.StockChanged) {
	for _, sku := range skus {
		changed.SKUs = append(changed.SKUs, inventory.ChangedSKU{SKU: sku, Version: version, StockLevel: inventory.StockLevel{
			Available: available, Warehouses: []inventory.WarehouseLevel{{Warehouse: "leeds", Available: available}},
		}})
	}
	return changed
}

func (f *fixture) changes(t *testing.T) (n int) {
	t.Helper()
	if err := f.kit.Pool.QueryRow(t.Context(), `select count(*) from search_changes`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// slowEngine is an engine that empties an index only once it is told to.
type slowEngine struct {
	search.Engine
	begun, end chan struct{}
}

func (s *slowEngine) wait() {
	close(s.begun)
	<-s.end
}

func (s *slowEngine) Create(ctx context.Context, index string) error {
	s.wait()
	return s.Engine.Create(ctx, index)
}

func (s *slowEngine) Drop(ctx context.Context, index string) error {
	s.wait()
	return s.Engine.Drop(ctx, index)
}

// faulty is an engine that refuses, for a while.
type faulty struct {
	search.Engine
	items map[string]error
	all   error
	has   *int64
}

func (f *faulty) Write(ctx context.Context, index string, docs []search.Document, n int64) (map[string]error, error) {
	if f.all != nil {
		return nil, f.all
	}
	var taken []search.Document
	failed := make(map[string]error)
	for _, d := range docs {
		if err := f.items[d.ID]; err != nil {
			failed[d.ID] = err
		} else {
			taken = append(taken, d)
		}
	}
	if more, err := f.Engine.Write(ctx, index, taken, n); err != nil || len(more) > 0 {
		return more, err
	}
	if f.has != nil {
		*f.has = max(*f.has, n)
	}
	return failed, nil
}

func (f *faulty) Checkpoint(ctx context.Context, index string) (int64, error) {
	if f.has != nil {
		return *f.has, nil
	}
	return f.Engine.Checkpoint(ctx, index)
}

func (f *faulty) Search(ctx context.Context, q search.Query) (search.Result, error) {
	if f.all != nil {
		return search.Result{}, f.all
	}
	return f.Engine.Search(ctx, q)
}

func (f *faulty) Read(ctx context.Context, index string, ids []string) (map[string]search.Stored, error) {
	if f.all != nil {
		return nil, f.all
	}
	return f.Engine.Read(ctx, index, ids)
}
