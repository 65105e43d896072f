package catalog

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
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
	l := &loader{pool: f.kit.Pool, log: f.kit.Log, stock: &pages{fails: 1, items: []*inventoryv1.StockItem{
		{Sku: "A", Version: 1, Available: 1}, {Sku: "LAMP-1", Version: 2, Available: 3}, {Sku: "NEWER", Version: 6, Available: 3},
	}}}
	if _, err := l.load(t.Context()); err == nil {
		t.Error("an owner that is away was read")
	}
	if _, err := l.load(t.Context()); err != nil {
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
