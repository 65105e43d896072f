package inventory

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
)

func TestPutAndGet(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	f.put(t, Stock{SKU: "85123A", Warehouse: "york", OnHand: 2})
	body := `{"warehouses":[{"warehouse":"leeds","on_hand":5},{"warehouse":"london","on_hand":0}]}`
	put := api.Do(http.MethodPut, "/v1/stock/85123A", body, "If-Match", api.Do(http.MethodGet, "/v1/stock/85123A", "").Header.Get("ETag"))
	get := api.Do(http.MethodGet, "/v1/stock/85123A", "")
	for _, a := range []servicetest.Answer{put, get} {
		want := `{"sku":"85123A","version":` + a.Header.Get("ETag") + `,"available":7,"warehouses":[` +
			`{"warehouse":"leeds","on_hand":5,"held":0,"available":5},` +
			`{"warehouse":"london","on_hand":0,"held":0,"available":0},` +
			`{"warehouse":"york","on_hand":2,"held":0,"available":2}]}`
		if strings.TrimSpace(a.Body) != want {
			t.Errorf("answered %s, want %s", a.Body, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 3})
	reserve(t, f.inbox(t, time.Minute), 2)
	many := make([]string, maxWarehouses+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"warehouse":"w%d","on_hand":1}`, i)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{"GET", "/v1/stock/nowhere", "", 404, "sku_not_found", ""},
		{"GET", "/v1/stock/a%20b", "", 400, "malformed", "sku"},
		{"PUT", "/v1/stock/a%20b", `{}`, 400, "malformed", "sku"},
		{"PUT", "/v1/stock/a", `{"warehouses":[]}`, 400, "out_of_range", "warehouses"},
		{"PUT", "/v1/stock/a", `{"warehouses":[` + strings.Join(many, ",") + `]}`, 400, "out_of_range", "warehouses"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"","on_hand":1}]}`, 400, "malformed", "warehouses[0].warehouse"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"x","on_hand":1},{"warehouse":"x","on_hand":2}]}`, 400, "repeated", "warehouses[1].warehouse"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"x"}]}`, 400, "out_of_range", "warehouses[0].on_hand"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"x","on_hand":-1}]}`, 400, "out_of_range", "warehouses[0].on_hand"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"x","on_hand":1000000001}]}`, 400, "out_of_range", "warehouses[0].on_hand"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"x","on_hand":1.5}]}`, 400, "wrong_type", "warehouses.on_hand"},
		{"PUT", "/v1/stock/a", `{"warehouse":"x"}`, 400, "unknown_field", "warehouse"},
		{"PUT", "/v1/stock/a", `{"warehouses":[{"warehouse":"leeds","on_hand":1}]}`, 412, "stock_exists", ""},
	} {
		a := api.Do(c.method, c.path, c.body, "If-None-Match", "*")
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s %s %s: %d %s, want %d %s %s", c.method, c.path, c.body, a.Status, a.Body, c.status, c.code, c.field)
		}
	}
	now := api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag")
	a := api.Do(http.MethodPut, "/v1/stock/a", `{"warehouses":[{"warehouse":"leeds","on_hand":1}]}`, "If-Match", now)
	if p := a.Problem(); a.Status != http.StatusConflict || p.Code != "stock_below_held" || p.Field != "warehouses" {
		t.Errorf("less than orders hold: %d %s", a.Status, a.Body)
	}
	if onHand, held := f.stock(t, "a"); onHand != 3 || held != 2 {
		t.Errorf("%d on hand, %d held after the refusals, want 3 and 2", onHand, held)
	}
	f.checkBooks(t)
}

// Of counts of one state, set at once, one is taken; counted again in turn, one is
// the last, and the books hold every difference.
func TestSetStockAtTheSameMoment(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	var all sync.WaitGroup
	for n := range 40 {
		// In opposite sequences, which must not deadlock.
		pair := []string{fmt.Sprintf(`{"warehouse":"leeds","on_hand":%d}`, n), fmt.Sprintf(`{"warehouse":"york","on_hand":%d}`, n)}
		if n%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		all.Go(func() {
			set := func(header ...string) servicetest.Answer {
				return api.Do(http.MethodPut, "/v1/stock/a", `{"warehouses":[`+strings.Join(pair, ",")+`]}`, header...)
			}
			a := set("If-None-Match", "*")
			for a.Status == http.StatusPreconditionFailed {
				a = set("If-Match", api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag"))
			}
			if a.Status != http.StatusOK {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	f.checkBooks(t)
	var v view
	if err := json.Unmarshal([]byte(api.Do(http.MethodGet, "/v1/stock/a", "").Body), &v); err != nil {
		t.Fatal(err)
	}
	if v.Warehouses[0].OnHand != v.Warehouses[1].OnHand {
		t.Errorf("%+v, want both warehouses to have the same request's count", v.Warehouses)
	}
}

func TestDatabaseRefusesToOversell(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 3})
	for _, sql := range []string{
		`update stock set held = on_hand + 1`, `update stock set held = -1`, `update stock set on_hand = -1`,
	} {
		if _, err := f.kit.Pool.Exec(t.Context(), sql); !pgtx.Violates(err, "never_oversold") {
			t.Errorf("%s: error %v, want never_oversold", sql, err)
		}
	}
}
