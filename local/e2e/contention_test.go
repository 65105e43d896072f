package e2e

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

func TestRule5_TheLastUnitsAreNeverOversold(t *testing.T) {
	const crowd = 200
	for _, c := range []struct {
		name, sku string
		units     int64
		warehouse map[string]int64
	}{
		{"200 buyers for the last unit", "last-one", 1, map[string]int64{"leeds": 1}},
		{"200 buyers for 20 units in three warehouses", "last-few", 20, map[string]int64{"leeds": 7, "york": 7, "hull": 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sys
			s.setStock(t, c.sku, c.warehouse)
			ids := make([]uuid.UUID, crowd)
			s.allAtOnce(crowd, func(i int) {
				var err error
				if ids[i], err = s.place(t.Context(), basketOf(c.sku, 1, "tok_success")); err != nil {
					t.Error(err)
				}
			})
			if t.Failed() {
				return
			}
			ends := map[string]int64{}
			for _, o := range s.awaitSettled(t, settleWithin, ids...) {
				ends[o.end()]++
			}
			if ends["confirmed"] != c.units || ends[events.ReasonOutOfStock] != crowd-c.units {
				t.Errorf("orders ended %v, want %d confirmed and the others out of stock", ends, c.units)
			}
			for _, w := range s.stock(t, c.sku).Warehouses {
				if w.OnHand != 0 || w.Held != 0 {
					t.Errorf("%+v, want nothing left", w)
				}
			}
			s.balanced(t)
		})
	}
}

// allAtOnce runs f n times, all released at one moment.
func (s *system) allAtOnce(n int, f func(i int)) {
	gate := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { <-gate; f(i) })
	}
	close(gate)
	all.Wait()
}

func TestIdempotencyKey_HundredAtOncePlaceOneOrder(t *testing.T) {
	s := sys
	s.setStock(t, "once", map[string]int64{"leeds": 1000})
	key, b := newKey(), basketOf("once", 1, "tok_success")
	b.CustomerID = "customer-" + key
	answers := make([]answer, 100)
	s.allAtOnce(len(answers), func(i int) {
		var err error
		answers[i], err = s.checkout(t.Context(), key, b)
		for err == nil && answers[i].status == http.StatusServiceUnavailable { // a starved machine is too slow for so many
			if err = pause(t.Context()); err == nil {
				answers[i], err = s.checkout(t.Context(), key, b)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	again := s.mustAnswer(t, key, b, http.StatusAccepted)
	counts := map[int]int{}
	for _, a := range answers {
		counts[a.status]++
		if !bytes.Equal(a.body, again.body) {
			t.Errorf("answers differ: %s and %s", a.body, again.body)
		}
	}
	if counts[http.StatusAccepted] != len(answers) {
		t.Errorf("answers by status are %v, want 202 to all", counts)
	}

	other := b
	other.Lines = []events.Line{{SKU: "once", Quantity: 2, UnitPrice: 250}}
	s.mustAnswer(t, key, other, http.StatusUnprocessableEntity)
	s.mustAnswer(t, "", b, http.StatusBadRequest)

	var receipt struct{ ID uuid.UUID }
	again.decode(t, &receipt)
	s.expect(t, receipt.ID, confirmed(250))
	if later := s.mustAnswer(t, key, b, http.StatusAccepted); !bytes.Equal(later.body, again.body) {
		t.Errorf("the answer changed once the order was settled: %s and %s", later.body, again.body)
	}
	var page struct{ Orders []orderView }
	s.ask(t, http.MethodGet, s.HTTPURL("order")+"/v1/orders?customer_id="+b.CustomerID, nil, nil).decode(t, &page)
	if len(page.Orders) != 1 {
		t.Errorf("customer has %d orders, want one", len(page.Orders))
	}
}

func (s *system) mustAnswer(t *testing.T, key string, b basket, status int) answer {
	t.Helper()
	a, err := s.checkout(t.Context(), key, b)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Errorf("answer is %d %s, want %d", a.status, a.body, status)
	}
	return a
}

func TestRule4_CancellingRacingConfirmingHasOneOutcome(t *testing.T) {
	const customers = 8
	s, n := sys, scaled(80)
	s.setStock(t, "racing", map[string]int64{"leeds": int64(n + 1)})
	began := time.Now()
	s.expect(t, s.mustPlace(t, basketOf("racing", 1, "tok_success")), confirmed(250))
	usual := time.Since(began)

	ids, agreed := make([]uuid.UUID, n), make([]bool, n)
	s.allAtOnce(customers, func(c int) {
		for i := c; i < n; i += customers {
			var err error
			if ids[i], err = s.place(t.Context(), basketOf("racing", 1, "tok_success")); err != nil {
				t.Error(err)
				return
			}
			// From at once to about as long again as it takes to confirm.
			<-time.After(usual * time.Duration(i%20) / 10)
			if agreed[i], err = s.cancel(t.Context(), ids[i]); err != nil {
				t.Error(err)
			}
		}
	})
	if t.Failed() {
		return
	}
	found := s.awaitSettled(t, settleWithin, ids...)
	inTime := 0
	for i, id := range ids {
		want := "confirmed"
		if agreed[i] {
			want, inTime = events.ReasonCustomerRequest, inTime+1
		}
		if got := found[id].end(); got != want {
			t.Errorf("order %s ended %s, but its customer was told %s", id, got, want)
		}
	}
	t.Logf("%d of %d were cancelled in time, %s being usual", inTime, n, usual)
	s.balanced(t)
}
