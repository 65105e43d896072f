package main

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
	"quadrille.internal/local/standin/standintest"
)

func TestChargeAnswersWhatItTook(t *testing.T) {
	p := startProvider(t)
	c := p.succeeded("k1", chargeBody("tok_success", "o1"))
	if !strings.HasPrefix(c.ID, "ch_") || c.Status != "succeeded" || c.Amount != 1000 || c.Currency != "GBP" ||
		c.Metadata["order_id"] != "o1" || c.Created == 0 {
		t.Fatalf("charge %+v", c)
	}
	if got := standintest.Parse[ledger.Charge](t, p.must("GET", "/v1/charges/"+c.ID, "", "")); got.ID != c.ID {
		t.Fatalf("shown %+v", got)
	}
	standintest.Expect(t, p.must("GET", "/v1/charges/ch_unknown", "", ""), http.StatusNotFound, "resource_missing")
}

func TestKeyIsRequiredEverywhereButHealth(t *testing.T) {
	p := startProvider(t)
	for _, authorization := range []string{"", "Bearer wrong", standintest.Key, "Basic " + standintest.Key} {
		for path, want := range map[string]int{
			"/healthz": 200, "/v1/charges": 401, "/v1/ledger/summary": 401, "/admin/mode": 401, "/nowhere": 401,
		} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
			req.Header.Set("Authorization", authorization)
			res, err := p.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s with %q: %d, want %d", path, authorization, res.StatusCode, want)
			}
		}
	}
	standintest.Expect(t, p.must("DELETE", "/v1/charges", "", ""), http.StatusNotFound, "url_unknown")
}

func TestBadRequestsNameTheParameter(t *testing.T) {
	p := startProvider(t)
	const charges, refunds = "/v1/charges", "/v1/refunds"
	long := strings.Repeat("x", 256)
	for _, c := range []struct{ name, path, key, body, code, param string }{
		{"no key", charges, "", chargeBody("tok_success", "o"), "parameter_missing", idempotencyHeader},
		{"long key", charges, long, chargeBody("tok_success", "o"), "parameter_invalid", idempotencyHeader},
		{"not json", charges, "k", "amount=1", "body_invalid", ""},
		{"two objects", charges, "k", "{} {}", "body_invalid", ""},
		{"no amount", charges, "k", `{"currency":"GBP","source":"tok_success"}`, "parameter_missing", "amount"},
		{"zero", charges, "k", `{"amount":0,"currency":"GBP","source":"tok_success"}`, "amount_too_small", "amount"},
		{"negative", charges, "k", `{"amount":-1,"currency":"GBP","source":"tok_success"}`, "amount_too_small", "amount"},
		{"too much", charges, "k", `{"amount":1000000000000,"currency":"GBP","source":"tok_success"}`, "amount_too_large", "amount"},
		{"fraction", charges, "k", `{"amount":1.5,"currency":"GBP","source":"tok_success"}`, "parameter_invalid", "amount"},
		{"capital letter", charges, "k", `{"Amount":1,"currency":"GBP","source":"tok_success"}`, "parameter_unknown", "Amount"},
		{"currency", charges, "k", `{"amount":1,"currency":"gbp","source":"tok_success"}`, "parameter_invalid", "currency"},
		{"currency of a sanctioned country", charges, "k", `{"amount":1,"currency":"KPW","source":"tok_success"}`, "currency_unsupported", "currency"},
		{"no such currency", charges, "k", `{"amount":1,"currency":"ZZZ","source":"tok_success"}`, "currency_unsupported", "currency"},
		{"token", charges, "k", chargeBody("tok_unknown", "o"), "resource_missing", "source"},
		{"metadata", charges, "k", chargeBody("tok_success", strings.Repeat("o", 501)), "parameter_invalid", "metadata"},
		{"no charge", refunds, "k", `{}`, "parameter_missing", "charge"},
		{"unknown charge", refunds, "k", `{"charge":"ch_x"}`, "resource_missing", "charge"},
		{"refund of zero", refunds, "k", `{"charge":"ch_x","amount":0}`, "amount_too_small", "amount"},
		{"reason", refunds, "k", `{"charge":"ch_x","reason":"` + long + `"}`, "parameter_invalid", "reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := p.must("POST", c.path, c.key, c.body)
			standintest.Expect(t, a, http.StatusBadRequest, c.code)
			if a.Param() != c.param {
				t.Fatalf("param %q, want %q", a.Param(), c.param)
			}
		})
	}
	standintest.Expect(t, p.charge("k", strings.Repeat(" ", standin.MaxBody+1)), http.StatusRequestEntityTooLarge, "body_too_large")
	p.succeeded("k", chargeBody("tok_success", "o")) // a bad request does not use up the key
}

func TestListsArePagedInAStableOrder(t *testing.T) {
	p := startProvider(t)
	var want []string
	for i := range 7 {
		c := p.succeeded(fmt.Sprint("k", i), chargeBody("tok_success", fmt.Sprint("o", i%2)))
		p.refund(fmt.Sprint("r", i), refundBody(c.ID, 1))
		want = append(want, c.ID)
	}
	page := func(path string) (ids []string) {
		after := ""
		for more := true; more && len(ids) <= 7; {
			a := p.must("GET", path+after, "", "")
			got := standintest.Parse[struct {
				Data []struct {
					ID     string
					Charge string
				}
				HasMore bool `json:"has_more"`
			}](t, a)
			for _, d := range got.Data {
				ids = append(ids, cmp.Or(d.Charge, d.ID)) // a refund counts as its charge
				after = "&starting_after=" + d.ID
			}
			more = got.HasMore
		}
		return ids
	}
	odd := []string{want[1], want[3], want[5]}
	for path, want := range map[string][]string{
		"/v1/charges?limit=3":              want,
		"/v1/charges?limit=7":              want,
		"/v1/refunds?limit=2":              want,
		"/v1/charges?limit=2&order_id=o1":  odd,
		"/v1/refunds?limit=2&order_id=o1":  odd,
		"/v1/charges?limit=2&order_id=o_x": nil,
	} {
		if got := page(path); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for query, param := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "order=o1": "order", "starting_after=ch_x": "starting_after",
	} {
		if a := p.must("GET", "/v1/charges?"+query, "", ""); a.Status != 400 || a.Param() != param {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}
}

func TestRefundsNeverExceedTheCharge(t *testing.T) {
	p := startProvider(t)
	c := p.succeeded("k", chargeBody("tok_success", "o"))
	standintest.Expect(t, p.refund("r0", refundBody(c.ID, 1001)), http.StatusBadRequest, "charge_already_refunded")

	var wg sync.WaitGroup
	statuses := make([]int, 40)
	for i := range statuses {
		wg.Go(func() { statuses[i] = p.refund(fmt.Sprint("r", i+1), refundBody(c.ID, 100)).Status })
	}
	wg.Wait()
	refunded := 0
	for _, status := range statuses {
		if status == http.StatusOK {
			refunded++
		}
	}
	if refunded != 10 {
		t.Fatalf("%d refunds of a tenth succeeded", refunded)
	}
	standintest.Expect(t, p.refund("r-rest", fmt.Sprintf(`{"charge":%q}`, c.ID)), http.StatusBadRequest, "charge_already_refunded")
	if got := p.charges("")[0].AmountRefunded; got != 1000 {
		t.Fatalf("amount_refunded %d", got)
	}
}

func TestRefundDefaultsToWhatIsLeft(t *testing.T) {
	p := startProvider(t)
	c := p.succeeded("k", chargeBody("tok_success", "o"))
	p.refund("r1", refundBody(c.ID, 400))
	got := standintest.Parse[ledger.Refund](t, p.refund("r2", fmt.Sprintf(`{"charge":%q,"reason":"order cancelled"}`, c.ID)))
	if got.Amount != 600 || got.Charge != c.ID || got.Currency != "GBP" || got.Reason != "order cancelled" || got.Status != "succeeded" {
		t.Fatalf("refund %+v", got)
	}
	s := p.summary()
	want := ledger.Total{Charges: 1, Refunds: 2, Charged: 1000, Refunded: 1000}
	if s.Charges != 1 || s.Refunds != 2 || s.Totals["GBP"] != want {
		t.Fatalf("summary %+v", s)
	}
}
