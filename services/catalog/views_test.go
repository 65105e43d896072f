package catalog

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"quadrille.internal/events/price"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/servicetest"
)

func TestStockIsShownAndFound(t *testing.T) {
	f := newFixture(t)
	f.stock(t, 1, 5, "LAMP-1") // heard before the product is there
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	shows := func(want string) {
		t.Helper()
		if a := f.public.Do(http.MethodGet, "/v1/products/lamp", ""); !strings.Contains(a.Body, want) {
			t.Errorf("shown is %s, want %s", a.Body, want)
		}
	}
	shows(`"in_stock":true`)
	if got := f.found(t, "in_stock=true"); got != "lamp" {
		t.Errorf("in stock are %q", got)
	}
	f.stock(t, 3, 0, "LAMP-1")
	shows(`"in_stock":false`) // at once, whatever the index has
	if n := f.changes(t); n != 1 {
		t.Errorf("%d changes wait for the index, want 1", n)
	}
	f.index(t)
	if got := f.found(t, "in_stock=true"); got != "" {
		t.Errorf("in stock are %q", got)
	}
	f.stock(t, 2, 9, "LAMP-1") // late
	shows(`"in_stock":false`)
	f.checkIndex(t)
}

// A SKU that sells all day is no work for the index until the last is gone.
func TestStockThatChangesNothingIsNotIndexed(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.stock(t, 1, 5, "LAMP-1", "OTHER")
	f.index(t)
	f.stock(t, 2, 4, "LAMP-1", "OTHER")
	if n := f.changes(t); n != 0 {
		t.Errorf("%d changes wait", n)
	}
	f.stock(t, 3, 0, "LAMP-1", "OTHER")
	if n := f.changes(t); n != 1 {
		t.Errorf("%d changes wait, want 1", n)
	}
}

// Stock that changes while a product is retired does not bring it back, and is known once it is
// published again.
func TestStockOfARetiredProduct(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"published"`, `"retired"`, 1))
	f.index(t)
	f.stock(t, 1, 5, "LAMP-1")
	f.index(t)
	if got := f.found(t, "q=lamp"); got != "" {
		t.Errorf("what is retired is found: %s", got)
	}
	f.checkIndex(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	if got := f.found(t, "in_stock=true"); got != "lamp" {
		t.Errorf("in stock are %q", got)
	}
	f.checkIndex(t)
}

// pages answers as inventory does, two SKUs a page.
type pages struct {
	inventoryv1.StockSnapshotClient
	items []*inventoryv1.StockItem
	fails int
}

func (p *pages) ListStock(_ context.Context, req *inventoryv1.ListStockRequest, _ ...grpc.CallOption) (*inventoryv1.ListStockResponse, error) {
	if p.fails > 0 {
		p.fails--
		return nil, fmt.Errorf("away")
	}
	from := 0
	if req.GetPageToken() != "" {
		_, _ = fmt.Sscan(req.GetPageToken(), &from)
	}
	to := min(from+2, len(p.items))
	answer := &inventoryv1.ListStockResponse{Items: p.items[from:to]}
	if to < len(p.items) {
		answer.NextPageToken = fmt.Sprint(to)
	}
	return answer, nil
}

// What was published before catalog first ran comes from the owner's snapshot, and does not
// take the place of what is newer.
func TestStockFromTheBeginning(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.stock(t, 7, 0, "NEWER")
	o := &owners{pool: f.kit.Pool, stock: &pages{fails: 1, items: []*inventoryv1.StockItem{
		{Sku: "A", Version: 1, Available: 1}, {Sku: "LAMP-1", Version: 2, Available: 3}, {Sku: "NEWER", Version: 6, Available: 3},
	}}}
	l := &loader{load: o.loadStock, log: f.kit.Log}
	if _, err := l.look(t.Context()); err == nil {
		t.Error("an owner that is away was read")
	}
	if _, err := l.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.index(t)
	if got := f.found(t, "in_stock=true"); got != "lamp" {
		t.Errorf("in stock are %q", got)
	}
	var newer bool
	if err := f.kit.Pool.QueryRow(t.Context(), `select (value ->> 'in_stock')::boolean from stock_view where key = 'NEWER'`).Scan(&newer); err != nil || newer {
		t.Errorf("an older state took the place of a newer one, %v", err)
	}
}

// prices has the service hear what a SKU costs in pounds and euros.
func (f *fixture) prices(t *testing.T, version int64, sku string, pounds int64) {
	t.Helper()
	at := func(currency string, amount int64) price.Price {
		return price.Price{Currency: currency, Amount: amount, ListPrice: amount + 50, ValidFrom: epoch}
	}
	servicetest.RunInbox(t, f.kit, handle).Deliver(servicetest.Message(t, price.PriceUpdated{Products: []price.Product{
		{SKU: sku, Version: version, Priced: price.Priced{Prices: []price.Price{at("EUR", 1), at("GBP", pounds)}}},
	}}, time.Now()))
}

// The price shown is the newest that was heard, whatever the index has; the index follows.
func TestPricesAreShownAndFound(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `{"sku": "LAMP-1"`, `{"sku": "LAMP-2"}, {"sku": "LAMP-1"`, 1))
	f.put(t, "/v1/products/dear", strings.Replace(lamp, "LAMP-1", "DEAR", 1))
	f.put(t, "/v1/products/unpriced", strings.Replace(lamp, "LAMP-1", "NONE", 1))
	f.prices(t, 1, "LAMP-1", 300)
	f.prices(t, 1, "LAMP-2", 250)
	f.prices(t, 1, "DEAR", 400)
	f.index(t)
	for query, want := range map[string]string{
		"sort=price": "lamp,dear,unpriced", "sort=-price": "dear,lamp,unpriced",
		"max_price=250": "lamp", "min_price=251": "dear", "min_price=401": "",
	} {
		if got := f.found(t, query); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	f.prices(t, 2, "LAMP-2", 275)
	f.prices(t, 1, "LAMP-2", 1) // late
	if a := f.public.Do(http.MethodGet, "/v1/search?max_price=250", ""); !strings.Contains(a.Body, `"price":{"currency":"GBP","amount":275,"list_price":325}`) {
		t.Errorf("the hit shows an old price: %s", a.Body)
	}
	if a := f.public.Do(http.MethodGet, "/v1/products/lamp", ""); !strings.Contains(a.Body, `"prices":[{"currency":"EUR","amount":1,"list_price":51},{"currency":"GBP","amount":275,"list_price":325}]`) {
		t.Errorf("the product shows %s", a.Body)
	}
	f.checkIndex(t)
	if got := f.found(t, "max_price=250"); got != "" {
		t.Errorf("by its old price found is %q", got)
	}
}

type pricePages struct {
	pricev1.PriceSnapshotClient
	items []*pricev1.PriceItem
}

func (p *pricePages) ListPrices(context.Context, *pricev1.ListPricesRequest, ...grpc.CallOption) (*pricev1.ListPricesResponse, error) {
	return &pricev1.ListPricesResponse{Items: p.items}, nil
}

// What the snapshot tells is what events tell: hearing both changes nothing.
func TestPricesFromTheBeginning(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	o := &owners{pool: f.kit.Pool, prices: &pricePages{items: []*pricev1.PriceItem{
		{Sku: "GONE", Version: 2},
		{Sku: "LAMP-1", Version: 3, Prices: []*pricev1.CurrencyPrice{{Currency: "GBP", Amount: 5, ListPrice: 6,
			ValidFrom: "2026-06-15T09:30:00Z", ValidUntil: "2026-06-16T00:00:00.5Z"}}},
	}}}
	if err := o.loadPrices(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.index(t)
	if a := f.public.Do(http.MethodGet, "/v1/search?max_price=5", ""); !strings.Contains(a.Body, `"amount":5,"list_price":6,"valid_until":"2026-06-16T00:00:00.5Z"`) {
		t.Errorf("found is %s", a.Body)
	}
	f.checkIndex(t)
}
