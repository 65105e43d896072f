package catalog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/servicetest"
)

func TestAProductsLife(t *testing.T) {
	f := newFixture(t)
	draft := strings.Replace(lamp, `"published"`, `"draft"`, 1)
	if tag := f.put(t, "/v1/products/lamp", draft); tag != `"1"` {
		t.Errorf("a new product has the ETag %s", tag)
	}
	if a := f.public.Do(http.MethodGet, "/v1/products/lamp", ""); a.Problem().Code != "product_not_found" {
		t.Errorf("a draft is shown to all: %d %s", a.Status, a.Body)
	}
	f.put(t, "/v1/products/lamp", lamp)
	a := f.public.Do(http.MethodGet, "/v1/products/lamp", "")
	var view productView
	if err := json.Unmarshal([]byte(a.Body), &view); err != nil || a.Header.Get("ETag") != `"2"` || view.Version != 2 || view.State != Published || view.PublishedAt == nil {
		t.Errorf("published: %s %+v, %v", a.Header.Get("ETag"), view, err)
	}
	if tag := f.put(t, "/v1/products/lamp", lamp); tag != `"2"` {
		t.Errorf("the same content made version %s", tag)
	}
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"published"`, `"retired"`, 1))
	if a := f.public.Do(http.MethodGet, "/v1/products/lamp", ""); a.Status != http.StatusOK || !strings.Contains(a.Body, `"state":"retired"`) {
		t.Errorf("who bought it sees %d %s", a.Status, a.Body)
	}
	if a := f.public.Do(http.MethodGet, "/v1/products", ""); a.Body != `{"products":[]}`+"\n" {
		t.Errorf("what is retired is listed: %s", a.Body)
	}
	told := servicetest.EmittedAbout(t, f.kit.Pool, "lamp")
	if types := servicetest.Types(told); !slices.Equal(types, []string{catalog.TypeProductUpdated, catalog.TypeProductRetired}) {
		t.Fatalf("told were %v", types)
	}
	if e, ok := told[0].(*catalog.ProductUpdated); !ok || e.Version != 2 || e.Title != "Lamp" || len(e.Media) != 1 || e.Variants[0].SKU != "LAMP-1" {
		t.Errorf("told was %+v", told[0])
	}
	if e, ok := told[1].(*catalog.ProductRetired); !ok || e.Version != 3 || !slices.Equal(e.SKUs, []string{"LAMP-1"}) {
		t.Errorf("told was %+v", told[1])
	}
}

func TestPreconditions(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.put(t, "/v1/categories/lights", `{"name": "Lights"}`)
	for _, c := range []struct {
		header []string
		status int
		code   string
	}{
		{nil, http.StatusPreconditionRequired, "precondition_required"},
		{[]string{"If-None-Match", "*"}, http.StatusPreconditionFailed, "exists"},
		{[]string{"If-Match", `"2"`}, http.StatusPreconditionFailed, "changed"},
		{[]string{"If-Match", "*"}, http.StatusBadRequest, "malformed"},
		{[]string{"If-Match", `W/"1"`}, http.StatusBadRequest, "malformed"},
		{[]string{"If-Match", `"1", "2"`}, http.StatusBadRequest, "malformed"},
		{[]string{"If-None-Match", `"1"`}, http.StatusBadRequest, "malformed"},
		{[]string{"If-Match", `"1"`, "If-None-Match", "*"}, http.StatusBadRequest, "malformed"},
		{[]string{"If-Match", `"1"`}, http.StatusOK, ""},
	} {
		for path, body := range map[string]string{"/v1/products/lamp": lamp, "/v1/categories/lights": `{"name": "Lights"}`} {
			if a := f.client.Do(http.MethodPut, path, body, c.header...); a.Status != c.status || a.Problem().Code != c.code {
				t.Errorf("%s with %v: %d %s", path, c.header, a.Status, a.Body)
			}
		}
	}
	if a := f.client.Do(http.MethodPut, "/v1/products/none", lamp, "If-Match", `"1"`); a.Problem().Code != "changed" {
		t.Errorf("what does not exist: %d %s", a.Status, a.Body)
	}
}

func TestOneOfManyWritersWins(t *testing.T) {
	f := newFixture(t)
	tag := f.put(t, "/v1/products/lamp", lamp)
	const writers = 8
	statuses := make([]int, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			statuses[i] = f.client.Do(http.MethodPut, "/v1/products/lamp", strings.Replace(lamp, "Lamp", fmt.Sprint("Lamp ", i), 1), "If-Match", tag).Status
		})
	}
	all.Wait()
	slices.Sort(statuses)
	if statuses[0] != http.StatusOK || statuses[1] != http.StatusPreconditionFailed || statuses[writers-1] != http.StatusPreconditionFailed {
		t.Errorf("they were answered %v, want one 200", statuses)
	}
}

func TestASKUHasOneProduct(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	if a := f.client.Do(http.MethodPut, "/v1/products/other", lamp, "If-None-Match", "*"); a.Status != http.StatusConflict || a.Problem().Code != "sku_taken" {
		t.Errorf("a SKU that another has: %d %s", a.Status, a.Body)
	}
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, "LAMP-1", "LAMP-2", 1))
	f.put(t, "/v1/products/other", lamp)
	a := f.public.Do(http.MethodGet, "/v1/products?sku=LAMP-1&sku=LAMP-2&sku=none", "")
	if !strings.Contains(a.Body, `"id":"lamp"`) || !strings.Contains(a.Body, `"id":"other"`) {
		t.Errorf("by SKU: %s", a.Body)
	}
}

// Two products that are given one SKU at the same moment: one has it.
func TestTwoWantOneSKU(t *testing.T) {
	f := newFixture(t)
	const writers = 6
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			a := f.client.Do(http.MethodPut, fmt.Sprint("/v1/products/p", i), lamp, "If-None-Match", "*")
			if a.Status != http.StatusCreated && a.Problem().Code != "sku_taken" {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	var n, owners int
	if err := f.kit.Pool.QueryRow(t.Context(), `select (select count(*) from products), (select count(*) from product_skus)`).Scan(&n, &owners); err != nil || n != 1 || owners != 1 {
		t.Errorf("%d products have the SKU, %d rows, %v", n, owners, err)
	}
}

func TestCategories(t *testing.T) {
	f := newFixture(t)
	if a := f.client.Do(http.MethodPut, "/v1/products/lamp", strings.Replace(lamp, `"categories": []`, `"categories": ["lights"]`, 1), "If-None-Match", "*"); a.Problem().Code != "category_not_found" {
		t.Errorf("a category that is not there: %d %s", a.Status, a.Body)
	}
	f.put(t, "/v1/categories/home", `{"name": "Home"}`)
	f.put(t, "/v1/categories/lights", `{"name": "Lights", "parent": "home"}`)
	f.put(t, "/v1/products/lamp", strings.Replace(lamp, `"categories": []`, `"categories": ["lights"]`, 1))
	if a := f.public.Do(http.MethodGet, "/v1/categories", ""); a.Body != `{"categories":[{"id":"home","version":1,"name":"Home","parent":null},{"id":"lights","version":1,"name":"Lights","parent":"home"}]}`+"\n" {
		t.Errorf("the tree is %s", a.Body)
	}
	f.index(t)
	for query, want := range map[string]string{"category=home": "lamp", "category=lights": "lamp", "q=lights": "lamp", "q=luminaires": ""} {
		if got := f.found(t, query); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	// The products below hear of it.
	f.put(t, "/v1/categories/garden", `{"name": "Luminaires"}`)
	f.put(t, "/v1/categories/lights", `{"name": "Lights", "parent": "garden"}`)
	f.index(t)
	for query, want := range map[string]string{"category=home": "", "category=garden": "lamp", "q=luminaires": "lamp"} {
		if got := f.found(t, query); got != want {
			t.Errorf("after it was moved, %s finds %q, want %q", query, got, want)
		}
	}
}

func TestListPages(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.put(t, fmt.Sprint("/v1/products/p", i), strings.Replace(lamp, "LAMP-1", fmt.Sprint("L", i), 1))
	}
	var ids []string
	for cursor := ""; ; {
		a := f.public.Do(http.MethodGet, "/v1/products?limit=2&cursor="+cursor, "")
		var page struct {
			Products []productView `json:"products"`
			Next     string        `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(a.Body), &page); err != nil {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		for _, p := range page.Products {
			ids = append(ids, p.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(ids, []string{"p0", "p1", "p2", "p3", "p4"}) {
		t.Errorf("the pages have %v", ids)
	}
}

// Whatever is in a search, the answer is a page or a refusal.
func TestSearchParameters(t *testing.T) {
	f := newFixture(t)
	if a := f.public.Do(http.MethodGet, "/v1/search", ""); a.Status != http.StatusServiceUnavailable || a.Problem().Code != "search_not_ready" || a.Header.Get("Retry-After") == "" {
		t.Errorf("before there is an index: %d %s", a.Status, a.Body)
	}
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	escape := url.QueryEscape
	for query, want := range map[string]int{
		"": 200, "q=": 200, "q=lamp&limit=1&sort=title&in_stock=false&facet=colour&facet=category": 200,
		"q=" + escape(strings.Repeat("é", maxQuery)): 200, "q=" + strings.Repeat("a", 10_000): 400, "q=%ff": 400, "q=%00": 200,
		"limit=0": 400, "limit=101": 400, "limit=x": 400, "sort=up": 400, "sort=-price&min_price=0&max_price=1000000000": 200, "min_price=-1": 400, "max_price=1e3": 400, "max_price=1000000001": 400, "in_stock=yes": 400,
		"facet=Colour": 400, "facet=colour&facet=colour": 400, "facet=" + strings.Repeat("a", 41): 400,
		"attribute=colour:red": 200, "attribute=colour": 400, "attribute=:red": 400, "attribute=colour:%00": 400, "attribute=colour:%ff": 400, "attribute=category:x": 400,
		"category=%00": 400, "category=a%20b": 400, "cursor=x": 400, "cursor=e30": 400, strings.Repeat("category=a&", 21): 400,
		"unknown=1": 200,
	} {
		a := f.public.Do(http.MethodGet, "/v1/search?"+query, "")
		if a.Status != want {
			t.Errorf("%.60s: %d %s, want %d", query, a.Status, a.Body, want)
		}
	}
}

// A cursor that somebody wrote by hand finds something or is refused.
func TestCursorsByHand(t *testing.T) {
	f := newFixture(t)
	f.put(t, "/v1/products/lamp", lamp)
	f.index(t)
	for _, sort := range []string{"relevance", "newest", "title", "price", "-price"} {
		for _, as := range []string{"relevance", "newest", "title", "price", "-price", "x"} {
			for _, key := range []string{"", "1", "-9223372036854775808", "9223372036854775808", "2026-06-15T09:30:00Z", "0000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
				"2026-06-15T09:30:00,5Z", "2026-06-15T09:30:00+23:59", "2026-06-15T09:30:00." + strings.Repeat("1", 500) + "Z", "'", "\x00", "\xff", "\\"} {
				text, err := json.Marshal(map[string]any{"e": "postgres", "s": as, "k": key, "i": "lamp", "w": 1})
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range []string{"", "lamp"} {
					a := f.public.Do(http.MethodGet, "/v1/search?q="+q+"&sort="+sort+"&cursor="+base64URL(text), "")
					if a.Status != http.StatusOK && a.Status != http.StatusBadRequest {
						t.Errorf("%s, q %q by %s: %d %s", text, q, sort, a.Status, a.Body)
					}
				}
			}
		}
	}
}
