package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/servicetest"
)

func TestIdempotencyKey(t *testing.T) {
	f := newFixture(t)
	api := f.replica(t)
	post := func(body string, header ...string) servicetest.Answer {
		return api.Do(http.MethodPost, "/v1/checkouts", body, header...)
	}
	for name, header := range map[string][]string{
		"missing": nil, "empty": {"Idempotency-Key", ""}, "with a space": {"Idempotency-Key", "a b"},
		"too long": {"Idempotency-Key", strings.Repeat("x", 256)},
	} {
		a := post(goodBody, header...)
		if p := a.Problem(); a.Status != http.StatusBadRequest || p.Code != "required" || p.Field != "Idempotency-Key" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	f.checkPlaced(t, 0)

	first := post(goodBody, "Idempotency-Key", "k1")
	again := post(goodBody, "Idempotency-Key", "k1")
	if again.Status != http.StatusAccepted || again.Body != first.Body || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("again: %d %s, want the same answer, %s", again.Status, again.Body, first.Body)
	}
	other := post(strings.Replace(goodBody, "17850", "17851", 1), "Idempotency-Key", "k1")
	if p := other.Problem(); other.Status != http.StatusUnprocessableEntity || p.Code != "idempotency_mismatch" || p.Field != "Idempotency-Key" {
		t.Errorf("another body: %d %s", other.Status, other.Body)
	}
	f.checkPlaced(t, 1)
}

// A hundred times the same request at once, at one replica or two: one order.
func TestSameKeyAtTheSameMoment(t *testing.T) {
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			f := newFixture(t)
			var apis []*servicetest.Client
			for range replicas {
				apis = append(apis, f.replica(t))
			}
			var mu sync.Mutex
			receipts := make(map[string]int)
			var rush sync.WaitGroup
			for n := range 100 {
				rush.Go(func() {
					a := apis[n%replicas].Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k")
					switch {
					case a.Status == http.StatusAccepted:
						mu.Lock()
						receipts[a.Body]++
						mu.Unlock()
					case a.Status != http.StatusConflict || a.Problem().Code != "idempotency_in_flight":
						t.Errorf("answered %d %s", a.Status, a.Body)
					}
				})
			}
			rush.Wait()
			if len(receipts) != 1 {
				t.Errorf("%d different receipts, want one", len(receipts))
			}
			f.checkPlaced(t, 1)
		})
	}
}

// Two replicas place batches of the same keys, in opposite sequence.
func TestReplicasPlaceTheSameKeys(t *testing.T) {
	const keys = 50
	f := newFixture(t)
	apis := []*servicetest.Client{f.replica(t), f.replica(t)}
	var rush sync.WaitGroup
	for n := range keys {
		for r, key := range []int{n, keys - 1 - n} {
			rush.Go(func() {
				a := apis[r].Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", fmt.Sprint(key))
				if a.Status != http.StatusAccepted {
					t.Errorf("answered %d %s", a.Status, a.Body)
				}
			})
		}
	}
	rush.Wait()
	f.checkPlaced(t, keys)
}

// A customer who hangs up and asks again at once may meet his first request in
// the same batch.
func TestSameKeyTwiceInABatch(t *testing.T) {
	f := newFixture(t)
	var batch []*placement
	for range 2 {
		batch = append(batch, &placement{paymentToken: "tok_success", checkout: &Checkout{
			Row: aggregate.Row{ID: uuid.New(), Version: 1}, IdempotencyKey: "k", RequestHash: hashOf([]byte(goodBody)),
			CustomerID: "17850", Currency: "GBP", Status: Placed,
			Amount: 200, Lines: []events.Line{{SKU: "85123A", Quantity: 2, UnitPrice: 100}},
		}})
	}
	err := f.kit.Outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		return insertAll(ctx, tx, batch)
	})
	if err != nil {
		t.Fatal(err)
	}
	if batch[0].placed == nil || batch[1].placed == nil || batch[0].placed.ID != batch[1].placed.ID {
		t.Errorf("placed %+v and %+v, want the same", batch[0].placed, batch[1].placed)
	}
	f.checkPlaced(t, 1)
}
