package inventory

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/servicetest"
)

const leedsHas = `{"warehouses":[{"warehouse":"leeds","on_hand":%d}]}`

// A clerk reads 10, goes and counts 10, and one is shipped before he enters it. The
// count is of goods that have left: entered, it would sell one that is not there.
func TestACountFromBeforeAShipmentIsRefused(t *testing.T) {
	f := newFixture(t)
	api, in := f.serve(t), f.inbox(t, time.Minute)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 10})
	id := uuid.New()
	in.Deliver(servicetest.Message(t, created(id, events.Line{SKU: "a", Quantity: 1}), epoch))
	read := api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag")

	in.Deliver(servicetest.Message(t, orderConfirmed(id), epoch))
	late := api.Do(http.MethodPut, "/v1/stock/a", fmt.Sprintf(leedsHas, 10), "If-Match", read)
	if late.Status != http.StatusPreconditionFailed || late.Problem().Code != "stock_moved" {
		t.Errorf("a count from before the shipment: %d %s", late.Status, late.Body)
	}
	if onHand, _ := f.stock(t, "a"); onHand != 9 {
		t.Errorf("%d on hand, want 9: one of 10 is shipped", onHand)
	}
	read = api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag")
	if again := api.Do(http.MethodPut, "/v1/stock/a", fmt.Sprintf(leedsHas, 8), "If-Match", read); again.Status != http.StatusOK {
		t.Errorf("counted again: %d %s", again.Status, again.Body)
	}
	f.checkBooks(t)
}

// What orders only hold still lies there: it changes no count.
func TestReservationsDoNotDisturbACount(t *testing.T) {
	f := newFixture(t)
	api, in := f.serve(t), f.inbox(t, time.Minute)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 10})
	read := api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag")
	ids := reserve(t, in, 2)
	in.Deliver(servicetest.Message(t, orderCancelled(ids[0]), epoch))
	if a := api.Do(http.MethodPut, "/v1/stock/a", fmt.Sprintf(leedsHas, 12), "If-Match", read); a.Status != http.StatusOK {
		t.Errorf("answered %d %s", a.Status, a.Body)
	}
	if onHand, held := f.stock(t, "a"); onHand != 12 || held != 1 {
		t.Errorf("%d on hand, %d held, want 12 and 1", onHand, held)
	}
	f.checkBooks(t)
}

func TestPreconditions(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 10})
	now := api.Do(http.MethodGet, "/v1/stock/a", "").Header.Get("ETag")
	for _, c := range []struct {
		name, path, warehouse string
		header                []string
		status                int
		code, field           string
	}{
		{"none", "/v1/stock/a", "leeds", nil, 428, "precondition_required", ""},
		{"none, of a new SKU", "/v1/stock/b", "leeds", nil, 428, "precondition_required", ""},
		{"any state", "/v1/stock/a", "leeds", []string{"If-Match", "*"}, 400, "malformed", "If-Match"},
		{"no entity tag", "/v1/stock/a", "leeds", []string{"If-Match", "x"}, 400, "malformed", "If-Match"},
		{"a weak one", "/v1/stock/a", "leeds", []string{"If-Match", "W/" + now}, 400, "malformed", "If-Match"},
		{"two", "/v1/stock/a", "leeds", []string{"If-Match", now + ", " + now}, 400, "malformed", "If-Match"},
		{"both", "/v1/stock/a", "leeds", []string{"If-Match", now, "If-None-Match", "*"}, 400, "malformed", "If-None-Match"},
		{"not one", "/v1/stock/a", "leeds", []string{"If-None-Match", now}, 400, "malformed", "If-None-Match"},
		{"another state", "/v1/stock/a", "leeds", []string{"If-Match", `"00"`}, 412, "stock_moved", ""},
		{"that of another SKU", "/v1/stock/b", "leeds", []string{"If-Match", now}, 412, "stock_moved", ""},
		{"new, though it is not", "/v1/stock/a", "leeds", []string{"If-None-Match", "*"}, 412, "stock_exists", ""},
		{"new, and it is", "/v1/stock/b", "leeds", []string{"If-None-Match", "*"}, 200, "", ""},
		{"new in another warehouse", "/v1/stock/b", "york", []string{"If-None-Match", "*"}, 200, "", ""},
		{"the state of now", "/v1/stock/a", "leeds", []string{"If-Match", now}, 200, "", ""},
		{"the state before that", "/v1/stock/a", "leeds", []string{"If-Match", now}, 412, "stock_moved", ""},
	} {
		a := api.Do(http.MethodPut, c.path, `{"warehouses":[{"warehouse":"`+c.warehouse+`","on_hand":20}]}`, c.header...)
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.Status, a.Body, c.status, c.code)
		}
	}
	if a := api.Do(http.MethodGet, "/v1/stock/a", ""); strings.Contains(a.Body, "york") {
		t.Errorf("a refused count left a row: %s", a.Body)
	}
	f.checkBooks(t)
}

const received = `{"reason":"PO 17 came in","warehouses":[{"warehouse":"leeds","delta":5},{"warehouse":"york","delta":2}]}`

// The same adjustment, at once and again, moves the goods once.
func TestAnAdjustmentIsMadeOnce(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	post := func(body string, header ...string) servicetest.Answer {
		return api.Do(http.MethodPost, "/v1/stock/a/adjustments", body, header...)
	}
	servicetest.CheckIdempotency(t, received, strings.Replace(received, `"delta":5`, `"delta":-1`, 1), post)
	f.checkBooks(t)

	before, _ := f.stock(t, "a")
	turned := `{"warehouses":[{"warehouse":"york","delta":2},{"warehouse":"leeds","delta":5}],"reason":"PO 17 came in"}`
	for _, same := range []string{received, turned} {
		if a := post(same, "Idempotency-Key", "PO-17"); a.Status != http.StatusOK {
			t.Errorf("the same in other words: %d %s", a.Status, a.Body)
		}
	}
	for _, other := range []string{strings.Replace(received, "5", "6", 1), strings.Replace(received, "17", "18", 1),
		strings.Replace(received, "york", "hull", 1)} {
		if a := post(other, "Idempotency-Key", "PO-17"); a.Status != http.StatusUnprocessableEntity || a.Problem().Code != "idempotency_mismatch" {
			t.Errorf("another adjustment: %d %s", a.Status, a.Body)
		}
	}
	if onHand, _ := f.stock(t, "a"); onHand != before+7 {
		t.Errorf("%d on hand, want %d", onHand, before+7)
	}
	if a := api.Do(http.MethodPost, "/v1/stock/b/adjustments", received, "Idempotency-Key", "PO-17"); a.Status != http.StatusOK {
		t.Errorf("the same key for another SKU: %d %s", a.Status, a.Body)
	}
	f.checkBooks(t)
}

// Two adjustments with one key at once are about a SKU that no warehouse has had, so
// that there is no row for which one could wait: one is made, one refused.
func TestOneKeyForTwoAdjustmentsAtOnce(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	for round := range 20 {
		statuses := make([]int, 2)
		var race sync.WaitGroup
		for i, warehouse := range []string{"leeds", "york"} {
			race.Go(func() {
				statuses[i] = api.Do(http.MethodPost, fmt.Sprintf("/v1/stock/new-%d/adjustments", round),
					`{"reason":"came in","warehouses":[{"warehouse":"`+warehouse+`","delta":1}]}`, "Idempotency-Key", "k").Status
			})
		}
		race.Wait()
		if statuses[0]+statuses[1] != http.StatusOK+http.StatusUnprocessableEntity {
			t.Fatalf("answered %v", statuses)
		}
	}
	f.checkBooks(t)
}

// A difference is right whatever is shipped meanwhile.
func TestAdjustmentsWhileOrdersShip(t *testing.T) {
	const orders = 40
	f := newFixture(t)
	api, in := f.serve(t), f.inbox(t, time.Minute)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: orders})
	var all sync.WaitGroup
	for n, id := range reserve(t, in, orders) {
		all.Go(func() { in.Deliver(servicetest.Message(t, orderConfirmed(id), epoch)) })
		all.Go(func() {
			a := api.Do(http.MethodPost, "/v1/stock/a/adjustments",
				`{"reason":"came in","warehouses":[{"warehouse":"leeds","delta":2}]}`, "Idempotency-Key", fmt.Sprint(n))
			if a.Status != http.StatusOK {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	if onHand, held := f.stock(t, "a"); onHand != 2*orders || held != 0 {
		t.Errorf("%d on hand, %d held, want %d and 0", onHand, held, 2*orders)
	}
	f.checkBooks(t)
}

func TestAdjustmentsRefused(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 3})
	reserve(t, f.inbox(t, time.Minute), 2)
	for _, c := range []struct {
		body        string
		status      int
		code, field string
	}{
		{`{"warehouses":[{"warehouse":"leeds","delta":1}]}`, 400, "required", "reason"},
		{`{"reason":"` + strings.Repeat("x", maxReason+1) + `","warehouses":[{"warehouse":"leeds","delta":1}]}`, 400, "too_long", "reason"},
		{`{"reason":"r"}`, 400, "out_of_range", "warehouses"},
		{`{"reason":"r","warehouses":[{"warehouse":"leeds","delta":0}]}`, 400, "out_of_range", "warehouses[0].delta"},
		{`{"reason":"r","warehouses":[{"warehouse":"leeds","delta":1000000001}]}`, 400, "out_of_range", "warehouses[0].delta"},
		{`{"reason":"r","warehouses":[{"warehouse":"a b","delta":1}]}`, 400, "malformed", "warehouses[0].warehouse"},
		{`{"reason":"r","warehouses":[{"warehouse":"x","delta":1},{"warehouse":"x","delta":1}]}`, 400, "repeated", "warehouses[1].warehouse"},
		{`{"reason":"r","warehouses":[{"warehouse":"leeds","delta":-2}]}`, 409, "stock_below_held", "warehouses"},
		{`{"reason":"r","warehouses":[{"warehouse":"hull","delta":-1}]}`, 409, "stock_below_held", "warehouses"},
	} {
		a := api.Do(http.MethodPost, "/v1/stock/a/adjustments", c.body, "Idempotency-Key", uuid.NewString())
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %d %s, want %d %s %s", c.body, a.Status, a.Body, c.status, c.code, c.field)
		}
	}
	if a := api.Do(http.MethodPost, "/v1/stock/a/adjustments", received); a.Status != 400 || a.Problem().Field != "Idempotency-Key" {
		t.Errorf("without a key: %d %s", a.Status, a.Body)
	}
	if onHand, held := f.stock(t, "a"); onHand != 3 || held != 2 {
		t.Errorf("%d on hand, %d held after the refusals, want 3 and 2", onHand, held)
	}
	f.checkBooks(t)
}
