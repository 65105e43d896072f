package price

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/servicetest"
)

func (f *fixture) wantProblem(a servicetest.Answer, status int, code, field string) {
	f.Helper()
	if p := a.Problem(); a.Status != status || p.Code != code || p.Field != field {
		f.Errorf("%d %s, want %d %s of %s", a.Status, a.Body, status, code, field)
	}
}

// What a customer is shown is the best of his groups.
func TestPricesOfTheCaller(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/prices/lists/trade", `{"group": "trade", "currency": "GBP"`+longAgo+`}`)
	f.put("/v1/prices/lists/trade/prices", `{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": 480}, {"min_quantity": 10, "amount": 400}]}]}`)
	for groups, want := range map[string]string{
		"":            `{"currency":"GBP","prices":[{"sku":"TEA","list_price":500,"unit_price":500,"tiers":[{"min_quantity":1,"unit_price":500}]}]}`,
		"club trade":  `{"currency":"GBP","prices":[{"sku":"TEA","list_price":500,"unit_price":480,"tiers":[{"min_quantity":1,"unit_price":480},{"min_quantity":10,"unit_price":400}]}]}`,
		"trade staff": `{"currency":"GBP","prices":[{"sku":"TEA","list_price":500,"unit_price":480,"tiers":[{"min_quantity":1,"unit_price":480},{"min_quantity":10,"unit_price":400}]}]}`,
	} {
		public := servicetest.Serve(t, func(r chi.Router) {
			r.Use(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(w, r.WithContext(caller.With(r.Context(), caller.Caller{ID: "carl", Groups: strings.Fields(groups)})))
				})
			})
			f.app.server.routes(r)
		})
		if a := public.Do(http.MethodGet, "/v1/prices?currency=GBP&sku=TEA&sku=NONE&sku=TEA", ""); a.Status != http.StatusOK || strings.TrimSpace(a.Body) != want {
			t.Errorf("in %q: %d %s", groups, a.Status, a.Body)
		}
		f.wantProblem(public.Do(http.MethodGet, "/v1/prices?currency=GBP", ""), 400, "out_of_range", "sku")
		f.wantProblem(public.Do(http.MethodGet, "/v1/prices?sku=TEA", ""), 400, "malformed", "currency")
		f.wantProblem(public.Do(http.MethodGet, "/v1/prices?currency=GBP&sku=a%20b", ""), 400, "malformed", "sku")
	}
}

// Documents come back as they were put, in pages, and are gone when they are deleted.
func TestDocuments(t *testing.T) {
	f := newFixture(t)
	for path, body := range map[string]string{
		"lists":      `{"currency": "GBP", "valid_from": "2026-01-01"}`,
		"promotions": `{"kind": "buy_x_get_y", "buy": 2, "get": 1, "rate": 1000000, "valid_from": "2026-01-01"}`,
		"taxes":      `{"region": "GB", "rate": 200000, "exceptions": [{"rate": 0, "skus": ["BOOK"]}], "valid_from": "2026-01-01"}`,
		"shipping":   `{"currency": "GBP", "amount": 395}`,
	} {
		var want []string
		for i := range 3 {
			want = append(want, strings.TrimSpace(f.put(fmt.Sprintf("/v1/prices/%s/d%d", path, i), "%s", body)))
		}
		for i, w := range want {
			if a := f.admin.Do(http.MethodGet, fmt.Sprintf("/v1/prices/%s/d%d", path, i), ""); strings.TrimSpace(a.Body) != w {
				t.Errorf("%s: %s, want %s", path, a.Body, w)
			}
		}
		var page struct {
			Next string `json:"next_cursor"`
		}
		first := f.admin.Do(http.MethodGet, "/v1/prices/"+path+"?limit=2", "")
		if err := json.Unmarshal([]byte(first.Body), &page); err != nil || !strings.Contains(first.Body, want[0]+","+want[1]) || page.Next != "d1" {
			t.Errorf("%s: the first page is %s", path, first.Body)
		}
		if second := f.admin.Do(http.MethodGet, "/v1/prices/"+path+"?cursor=d1", ""); !strings.Contains(second.Body, "["+want[2]+"]") || strings.Contains(second.Body, "next") {
			t.Errorf("%s: the second page is %s", path, second.Body)
		}
		if a := f.admin.Do(http.MethodDelete, "/v1/prices/"+path+"/d1", ""); a.Status != http.StatusNoContent {
			t.Errorf("%s: delete answers %d %s", path, a.Status, a.Body)
		}
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			f.wantProblem(f.admin.Do(method, "/v1/prices/"+path+"/d1", ""), 404, "not_in_price_book", "")
		}
	}
	f.checkBooks()
}

func TestOperatorsAreToldWhatIsWrong(t *testing.T) {
	f := newFixture(t)
	f.put("/v1/prices/lists/base", `{"currency": "GBP"}`)
	for _, c := range []struct{ path, body, code, field string }{
		{"lists/base", `{"currency": "XXX"}`, "malformed", "currency"},
		{"lists/base", `{"currency": "GBP", "group": "a b"}`, "malformed", "group"},
		{"lists/base", `{"currency": "GBP", "valid_from": "soon"}`, "malformed", "valid_from"},
		{"lists/base", `{"currency": "GBP", "valid_from": "2026-13-01"}`, "malformed", "valid_from"},
		{"lists/base", `{"currency": "GBP", "valid_from": "2026-02-01", "valid_until": "2026-01-01"}`, "out_of_range", "valid_until"},
		{"lists/base/prices", `{"prices": []}`, "out_of_range", "prices"},
		{"lists/base/prices", `{"prices": [{"sku": "A", "tiers": [{"min_quantity": 0, "amount": 1}]}]}`, "out_of_range", "prices[0].tiers[0].min_quantity"},
		{"lists/base/prices", `{"prices": [{"sku": "A", "tiers": [{"min_quantity": 1, "amount": -1}]}]}`, "out_of_range", "prices[0].tiers[0].amount"},
		{"lists/base/prices", `{"prices": [{"sku": "A"}, {"sku": "A"}]}`, "repeated", "prices[1].sku"},
		{"lists/base/prices", `{"prices": [{"sku": "A", "tiers": [{"min_quantity": 1, "amount": 1}, {"min_quantity": 1, "amount": 2}]}]}`, "repeated", "prices[0].tiers[1].min_quantity"},
		{"promotions/p", `{"kind": "free"}`, "malformed", "kind"},
		{"promotions/p", `{"kind": "percentage"}`, "out_of_range", "rate"},
		{"promotions/p", `{"kind": "percentage", "rate": 1000001}`, "out_of_range", "rate"},
		{"promotions/p", `{"kind": "percentage", "rate": 1, "amount": 1}`, "out_of_range", "amount"},
		{"promotions/p", `{"kind": "amount", "amount": 1}`, "malformed", "currency"},
		{"promotions/p", `{"kind": "percentage", "rate": 1, "rounding": "nearest"}`, "malformed", "rounding"},
		{"promotions/p", `{"kind": "percentage", "rate": 1, "min_subtotal": 1, "currency": "GBP"}`, "out_of_range", "min_subtotal"},
		{"promotions/p", `{"kind": "percentage", "rate": 1, "skus": ["a b"]}`, "malformed", "skus[0]"},
		{"taxes/t", `{"rate": -1}`, "out_of_range", "rate"},
		{"taxes/t", `{}`, "required", "rate"},
		{"taxes/t", `{"rate": 1, "region": "England"}`, "malformed", "region"},
		{"shipping/s", `{"currency": "GBP"}`, "out_of_range", "amount"},
		{"shipping/s", `{"currency": "GBP", "amount": 1, "free_from": -1}`, "out_of_range", "free_from"},
	} {
		f.wantProblem(f.admin.Do(http.MethodPut, "/v1/prices/"+c.path, c.body), 400, c.code, c.field)
	}
	f.wantProblem(f.admin.Do(http.MethodPut, "/v1/prices/lists/none/prices", `{"prices": [{"sku": "A", "tiers": []}]}`), 404, "not_in_price_book", "")
	f.wantProblem(f.admin.Do(http.MethodPut, "/v1/vouchers/V", `{"kind": "percentage", "rate": 1}`), 400, "out_of_range", "max_uses")
	f.wantProblem(f.admin.Do(http.MethodPost, "/v1/prices/explanations", `{"token": "x"}`), 400, "malformed", "token")
}

func TestVouchersOfOperators(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/TEN", tenOff, 2)
	for range 2 {
		q, token := f.quote(1, "TEN")
		f.wantOutcome(f.commit(token, q.ID), committedOutcome)
	}
	f.wantProblem(f.admin.Do(http.MethodPut, "/v1/vouchers/TEN", fmt.Sprintf(tenOff, 1)), 409, "voucher_in_use", "")
	if body := f.put("/v1/vouchers/TEN", tenOff, 3); !strings.Contains(body, `"max_uses":3,"held":2,"redeemed":0`) {
		t.Errorf("answered %s", body)
	}
	_, token := f.quote(1, "TEN")
	if a := f.admin.Do(http.MethodDelete, "/v1/vouchers/TEN", ""); a.Status != http.StatusNoContent {
		t.Errorf("delete answers %d %s", a.Status, a.Body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		f.wantProblem(f.admin.Do(method, "/v1/vouchers/TEN", ""), 404, "not_in_price_book", "")
	}
	f.wantOutcome(f.commit(token, f.read(token).ID), committedOutcome) // the quote is valid
	f.checkBooks()
}

func TestExplanation(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/prices/promotions/summer", `{"kind": "percentage", "rate": 100000`+longAgo+`}`)
	_, token := f.quote(2, "")
	f.list("base", 700, longAgo)
	a := f.admin.Do(http.MethodPost, "/v1/prices/explanations", `{"token": "`+token+`"}`)
	want := `{"same":true,"steps":[{"what":"price","rule":"base","sku":"TEA","amount":500},{"what":"promotion","rule":"summer","sku":"TEA","amount":-100}]}`
	if a.Status != http.StatusOK || strings.TrimSpace(a.Body) != want {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
