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
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/servicetest"
)

func TestIdempotencyKey(t *testing.T) {
	f := newFixture(t)
	var replicas []servicetest.Post
	for range 2 {
		api := f.replica(t)
		replicas = append(replicas, func(body string, header ...string) servicetest.Answer {
			return api.Do(http.MethodPost, "/v1/checkouts", body, header...)
		})
	}
	servicetest.CheckIdempotency(t, goodBody, strings.Replace(goodBody, "GBP", "EUR", 1), replicas...)
	f.checkPlaced(t, 12)
}

// A request that comes again while the first is under way waits for that, and gets
// the same answer.
func TestSameKeyWhileTheFirstIsUnderWay(t *testing.T) {
	f := newFixture(t)
	p := newPlacer(f.kit.Pool, f.kit.Outbox) // not running yet: requests wait
	api := servicetest.Serve(t, (&server{pool: f.kit.Pool, placer: p, api: f.kit.API}).routes)
	answers := make(chan servicetest.Answer, 2)
	for range 2 {
		go func() { answers <- api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k") }()
	}
	servicetest.Await(t, "both are under way", func() bool { return p.group.Waiting() == 2 })
	servicetest.Run(t, p.run)
	first, second := <-answers, <-answers
	if first.Status != http.StatusAccepted || second.Status != http.StatusAccepted || first.Body != second.Body {
		t.Errorf("answered %d %s and %d %s, want one order", first.Status, first.Body, second.Status, second.Body)
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
			Row: aggregate.Row{ID: uuid.New(), Version: 1}, IdempotencyKey: key, RequestHash: idempotency.HashOf([]byte(goodBody)),
			CustomerID: "customer-17850", Amount: 200, Currency: "GBP", Status: Placed,
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

// Orders are counted once, however often they are asked for.
func TestOrdersAreCounted(t *testing.T) {
	f := newFixture(t)
	p := newPlacer(f.kit.Pool, f.kit.Outbox)
	p.started = f.kit.Metrics.SagasStarted()
	servicetest.Run(t, p.run)
	api := servicetest.Serve(t, (&server{pool: f.kit.Pool, placer: p, api: f.kit.API}).routes)
	for _, key := range []string{"first", "second", "first"} {
		if a := api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", key); a.Status != http.StatusAccepted {
			t.Fatalf("place: %d %s", a.Status, a.Body)
		}
	}
	servicetest.CheckMetrics(t, f.kit.Metrics, `quadrille_sagas_started_total{service="checkout"} 2`)
}
