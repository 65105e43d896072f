package main

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin/standintest"
)

func TestOrderKeepsWhatItWasToldAndCanBeFound(t *testing.T) {
	e := startERP(t)
	o := e.created(1)
	want := ledger.Draft{
		ExternalID: externalID(1), CompanyID: "c1", Currency: "GBP", Total: 3000,
		Lines: []ledger.Line{{SKU: "A", Quantity: 2, UnitPrice: 1000}, {SKU: "B", Quantity: 1, UnitPrice: 1000}},
		Shipments: []ledger.Shipment{
			{Warehouse: "leeds", Lines: []ledger.Item{{SKU: "A", Quantity: 2}}},
			{Warehouse: "bath", Lines: []ledger.Item{{SKU: "B", Quantity: 1}}},
		},
	}
	if !strings.HasPrefix(o.ID, "erp_") || o.Status != "open" || o.Created == 0 || !reflect.DeepEqual(o.Draft, want) {
		t.Fatalf("created %+v", o)
	}
	shown := standintest.Parse[ledger.Order](t, e.Must("GET", "/v1/orders/"+o.ID, ""))
	if found := e.orders(1); !reflect.DeepEqual(shown, o) || !reflect.DeepEqual(found, []ledger.Order{o}) {
		t.Fatalf("shown %+v, found %+v", shown, found)
	}
	if found := e.orders(2); len(found) != 0 {
		t.Fatalf("found %+v", found)
	}
	standintest.Expect(t, e.Must("GET", "/v1/orders/erp_x", ""), http.StatusNotFound, "resource_missing")
}

func TestPostingTwiceMakesTwoOrders(t *testing.T) {
	e := startERP(t)
	first, second := e.created(1), e.created(1)
	if first.ID == second.ID || len(e.orders(1)) != 2 {
		t.Fatalf("orders %+v", e.orders(1))
	}
	if s := e.summary(); s.Orders != 2 || s.ExternalIDs != 1 {
		t.Fatalf("summary %+v", s)
	}
	// The key of other APIs means nothing here.
	a := e.Must("POST", "/v1/orders", orderBody(externalID(1), "c1"), "Idempotency-Key", "k")
	standintest.Expect(t, a, http.StatusCreated, "")
}

func TestConditionalCreateAnswersWithTheOldestOrder(t *testing.T) {
	e := startERP(t)
	standintest.Expect(t, e.createOnce(1, "c1"), http.StatusCreated, "")
	e.created(1)
	oldest := e.orders(1)[0]
	a := e.createOnce(1, "c1")
	standintest.Expect(t, a, http.StatusPreconditionFailed, "order_exists")
	if got := standintest.Parse[ledger.Order](t, a); !reflect.DeepEqual(got, oldest) {
		t.Fatalf("answered %s, want %+v", a.Body, oldest)
	}
	e.cancel(oldest.ID)
	a = e.createOnce(1, "c1") // a cancelled order is an order
	standintest.Expect(t, a, http.StatusPreconditionFailed, "order_exists")
	if got := standintest.Parse[ledger.Order](t, a); got.ID != oldest.ID || got.Status != "cancelled" {
		t.Fatalf("answered %s", a.Body)
	}
}

func TestHundredConditionalCreatesAtOnceMakeOneOrder(t *testing.T) {
	e := startERP(t)
	e.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	for n := range 5 { // the first finds no open connections, and is no real race
		raceForOneOrder(t, e, n)
	}
	before := e.summary()
	e.Client.CloseIdleConnections() // stopping waits for those never used
	e.Restart()
	if after := e.summary(); !reflect.DeepEqual(after, before) {
		t.Fatalf("after a restart %+v, before %+v", after, before)
	}
}

func raceForOneOrder(t *testing.T, e erp, n int) {
	t.Helper()
	answers := make([]standintest.Answer, 100)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = e.createOnce(n, "c1") })
	}
	wg.Wait()
	orders := e.orders(n)
	if len(orders) != 1 {
		t.Fatalf("%d orders", len(orders))
	}
	created := 0
	for _, a := range answers {
		if a.Status == http.StatusCreated {
			created++
		} else {
			standintest.Expect(t, a, http.StatusPreconditionFailed, "order_exists")
		}
		if got := standintest.Parse[ledger.Order](t, a); got.ID != orders[0].ID {
			t.Fatalf("answered %s, the order is %s", a.Body, orders[0].ID)
		}
	}
	if created != 1 {
		t.Fatalf("%d answers claim to have created it", created)
	}
}

func TestCancellingTwiceAnswersTheSame(t *testing.T) {
	e := startERP(t)
	o := e.created(1)
	first := e.cancel(o.ID)
	standintest.Expect(t, first, http.StatusOK, "")
	if got := standintest.Parse[ledger.Order](t, first); got.Status != "cancelled" || got.Settled == 0 || got.ID != o.ID {
		t.Fatalf("cancelled %+v", got)
	}
	e.Restart()
	if again := e.cancel(o.ID); again.Status != http.StatusOK || again.Body != first.Body {
		t.Fatalf("first %s, again %d %s", first.Body, again.Status, again.Body)
	}
	standintest.Expect(t, e.cancel("erp_x"), http.StatusNotFound, "resource_missing")
	want := ledger.Summary{
		Orders: 1, ExternalIDs: 1,
		Statuses: map[ledger.Status]int{"open": 0, "cancelled": 1},
		Totals:   map[string]ledger.Total{"GBP": {Orders: 1, Ordered: 3000, Cancelled: 3000}},
	}
	if s := e.summary(); !reflect.DeepEqual(s, want) {
		t.Fatalf("summary %+v", s)
	}
}

func TestShippedAndCancelledExcludeEachOther(t *testing.T) {
	e := startERP(t)
	shipped, cancelled := e.created(1).ID, e.created(2).ID
	ship := func(id string) standintest.Answer { return e.Must("POST", "/admin/orders/"+id+"/ship", "") }
	standintest.Expect(t, ship(shipped), http.StatusOK, "")
	standintest.Expect(t, ship(shipped), http.StatusOK, "")
	standintest.Expect(t, e.cancel(shipped), http.StatusConflict, "order_shipped")
	standintest.Expect(t, e.cancel(cancelled), http.StatusOK, "")
	standintest.Expect(t, ship(cancelled), http.StatusConflict, "order_cancelled")
	standintest.Expect(t, ship("erp_x"), http.StatusNotFound, "resource_missing")
}

func TestKeyIsRequiredEverywhereButHealth(t *testing.T) {
	e := startERP(t)
	for path, want := range map[string]int{"/healthz": 200, "/v1/orders": 401, "/v1/ledger/summary": 401, "/admin/orders/x/ship": 401} {
		res, err := e.Client.Get(e.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestBadRequestsNameTheParameter(t *testing.T) {
	e := startERP(t)
	body := func(field, value string) string {
		fields := map[string]string{
			"external_id": fmt.Sprintf("%q", externalID(1)), "company_id": `"c1"`, "currency": `"GBP"`, "total": "1",
			"lines": `[{"sku":"A","quantity":1,"unit_price":1}]`, "shipments": `[]`,
		}
		fields[field] = value
		var parts []string
		for name, value := range fields {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for _, c := range []struct{ field, value, code, param string }{
		{"external_id", `""`, "parameter_missing", "external_id"},
		{"external_id", `"order 1"`, "parameter_invalid", "external_id"},
		{"external_id", `"0198F2A0-0000-7000-8000-000000000001"`, "parameter_invalid", "external_id"},
		{"company_id", `""`, "parameter_missing", "company_id"},
		{"company_id", `"` + strings.Repeat("c", maxName+1) + `"`, "parameter_invalid", "company_id"},
		{"currency", `"gbp"`, "parameter_invalid", "currency"},
		{"total", `0`, "parameter_invalid_integer", "total"},
		{"total", `1.5`, "parameter_invalid", "total"},
		{"lines", `[]`, "parameter_missing", "lines"},
		{"lines", `[{"sku":"A","quantity":0,"unit_price":1}]`, "parameter_invalid_integer", "lines[0].quantity"},
		{"lines", `[{"sku":"A","quantity":1,"unit_price":-1}]`, "parameter_invalid_integer", "lines[0].unit_price"},
		{"shipments", `[{"warehouse":"","lines":[]}]`, "parameter_missing", "shipments[0].warehouse"},
		{"shipments", `[{"warehouse":"w","lines":[]}]`, "parameter_missing", "shipments[0].lines"},
		{"shipments", `[{"warehouse":"w","lines":[{"quantity":1}]}]`, "parameter_missing", "shipments[0].lines[0].sku"},
		{"Total", `1`, "parameter_unknown", "Total"},
	} {
		a := e.Must("POST", "/v1/orders", body(c.field, c.value))
		if a.Status != http.StatusBadRequest || a.Code() != c.code || a.Param() != c.param {
			t.Errorf("%s %s: %d %s", c.field, c.value, a.Status, a.Body)
		}
	}
	a := e.Must("POST", "/v1/orders", orderBody(externalID(1), "c1"), conditionHeader, `"etag"`)
	if a.Status != http.StatusBadRequest || a.Param() != conditionHeader {
		t.Errorf("condition: %d %s", a.Status, a.Body)
	}
	if s := e.summary(); s.Orders != 0 {
		t.Fatalf("%d orders", s.Orders)
	}
}

func TestListIsPagedInAStableOrder(t *testing.T) {
	e := startERP(t)
	var want, got []string
	for n := range 7 {
		want = append(want, e.created(n).ID)
	}
	for after := ""; ; {
		page := standintest.Parse[struct {
			Data    []ledger.Order
			HasMore bool `json:"has_more"`
		}](t, e.Must("GET", "/v1/orders?limit=3"+after, ""))
		for _, o := range page.Data {
			got = append(got, o.ID)
			after = "&starting_after=" + o.ID
		}
		if !page.HasMore || len(got) > len(want) {
			break
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	for _, query := range []string{"limit=0", "external=x", "starting_after=erp_x"} {
		if a := e.Must("GET", "/v1/orders?"+query, ""); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}
}
