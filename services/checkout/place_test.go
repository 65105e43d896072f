package checkout

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	other := post(strings.Replace(goodBody, "GBP", "EUR", 1), "Idempotency-Key", "k1")
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

func TestSameKeyWhileTheFirstIsUnderWay(t *testing.T) {
	f := newFixture(t)
	p := newPlacer(f.kit.Outbox) // not running yet: requests wait
	api := servicetest.Serve(t, (&server{pool: f.kit.Pool, placer: p, api: f.kit.API}).routes)
	first := make(chan servicetest.Answer, 1)
	go func() { first <- api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k") }()
	servicetest.Await(t, "the first is under way", func() bool { return p.group.Waiting() == 1 })

	a := api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k")
	if a.Status != http.StatusConflict || a.Problem().Code != "idempotency_in_flight" {
		t.Errorf("second: %d %s", a.Status, a.Body)
	}
	servicetest.Run(t, p.run)
	placed := <-first
	if placed.Status != http.StatusAccepted {
		t.Errorf("first: %d %s", placed.Status, placed.Body)
	}
	a = api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k")
	if a.Status != http.StatusAccepted || a.Body != placed.Body {
		t.Errorf("third: %d %s, want the same as the first", a.Status, a.Body)
	}
	f.checkPlaced(t, 1)
}

// Two replicas place batches of the same keys in opposite sequence, and never in
// a deadlock, after which a transaction would run again.
func TestReplicasPlaceTheSameKeys(t *testing.T) {
	const keys, rounds = 100, 10
	f := newFixture(t)
	var runs atomic.Int32
	for round := range rounds {
		var forth []string
		for n := range keys {
			forth = append(forth, fmt.Sprint(round, "-", n))
		}
		back := slices.Clone(forth)
		slices.Reverse(back)
		var race sync.WaitGroup
		for _, names := range [][]string{forth, back} {
			batch := placements(names...)
			race.Go(func() {
				err := f.kit.Outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error {
					runs.Add(1)
					return insertAll(ctx, tx, batch)
				})
				if err != nil {
					t.Errorf("place: %v", err)
				}
			})
		}
		race.Wait()
	}
	if n := runs.Load(); n != 2*rounds {
		t.Errorf("%d transactions for %d batches", n, 2*rounds)
	}
	f.checkPlaced(t, rounds*keys)
}

// placements returns a request for each key.
func placements(keys ...string) []*placement {
	var batch []*placement
	for _, key := range keys {
		batch = append(batch, &placement{paymentToken: "tok_success", checkout: &Checkout{
			Row: aggregate.Row{ID: uuid.New(), Version: 1}, IdempotencyKey: key, RequestHash: hashOf([]byte(goodBody)),
			CustomerID: "17850", Amount: 200, Currency: "GBP", Status: Placed,
			Lines: []events.Line{{SKU: "85123A", Quantity: 2, UnitPrice: 100}},
		}})
	}
	return batch
}

// A customer who hangs up and asks again at once may meet his first request in
// the same batch.
func TestSameKeyTwiceInABatch(t *testing.T) {
	f := newFixture(t)
	batch := placements("k", "k")
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
