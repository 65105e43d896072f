package catalog

import (
	"testing"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog/search"
	"quadrille.internal/services/catalog/search/searchtest"
)

// The whole way on a real OpenSearch: products are found and retired, and a cluster that has
// lost its indexes is filled again without anybody asking.
func TestOnOpenSearch(t *testing.T) {
	server := searchtest.Start(t)
	engine, err := search.NewOpenSearch(search.OpenSearchConfig{URL: server.URL, Alias: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	f := fixtureOn(t, servicetest.NewKit(t, Service()), engine)
	awaitFound := func(query, want string) {
		t.Helper()
		servicetest.Await(t, query+" finds "+want, func() bool { return f.found(t, query) == want })
	}
	f.put(t, "/v1/products/lamp", lamp)
	f.put(t, "/v1/products/gone", `{"state": "published", "title": "Lamp", "variants": [{"sku": "G"}]}`)
	f.stock(t, 1, 5, "LAMP-1")
	f.prices(t, 1, "LAMP-1", 300)
	f.index(t)
	awaitFound("q=lmap&in_stock=true&max_price=300&attribute=colour:red", "lamp")
	f.put(t, "/v1/products/gone", `{"state": "retired", "title": "Lamp", "variants": [{"sku": "G"}]}`)
	f.index(t)
	awaitFound("q=lamp", "lamp")
	f.checkIndex(t)

	var live string
	if err := f.kit.Pool.QueryRow(t.Context(), `select name from search_indexes where status = 'live'`).Scan(&live); err != nil {
		t.Fatal(err)
	}
	if err := engine.Drop(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	f.build(t)
	awaitFound("q=lamp", "lamp")
	f.checkIndex(t)
	f.checkChangesBeside(t, awaitFound)
}
