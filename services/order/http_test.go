package order

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/servicetest"

	"quadrille.internal/platform/service"
)

type fixture struct {
	kit *service.Kit
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	return fixture{servicetest.NewKit(t, Service())}
}

func (f fixture) serve(t *testing.T) *servicetest.Client {
	t.Helper()
	s := serverOf(f.kit)
	return servicetest.Serve(t, s.routes)
}

// tell lets an order hear of events, one batch each.
func tell(t *testing.T, in *servicetest.Inbox, id uuid.UUID, types ...string) {
	t.Helper()
	for n, eventType := range types {
		in.Deliver(servicetest.Message(t, sample(eventType, id), happenedAt(n)))
	}
}

// A customer's cancellation and the payment come at the same moment: the answer,
// the order and the one announcement agree, no matter which wins.
func TestCancelRacesConfirm(t *testing.T) {
	const rounds = 100
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	wins := make(map[Status]int)
	for range rounds {
		id := uuid.New()
		tell(t, in, id, checkout.TypeOrderCreated, inventory.TypeReserved)
		payment := servicetest.Message(t, sample(payment.TypeCompleted, id), happenedAt(2))

		var answer servicetest.Answer
		var race sync.WaitGroup
		race.Go(func() { in.Deliver(payment) })
		race.Go(func() { answer = api.Do(http.MethodPost, "/v1/orders/"+id.String()+"/cancel", "") })
		race.Wait()

		found, err := orders.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
		if err != nil {
			t.Fatal(err)
		}
		status := found[id].Status
		wins[status]++
		told := map[int]Status{http.StatusOK: Cancelled, http.StatusConflict: Confirmed}[answer.Status]
		if told != status {
			t.Fatalf("answered %d %s, but the order is %s", answer.Status, answer.Body, status)
		}
		if got := servicetest.Types(servicetest.Emitted(t, f.kit.Pool)[id]); !slices.Equal(got, []string{announces[status]}) {
			t.Fatalf("announced %v of a %s order", got, status)
		}
	}
	t.Logf("of %d races %d were confirmed, %d cancelled", rounds, wins[Confirmed], wins[Cancelled])
}

// Twenty clicks on cancel are one cancellation.
func TestCancelManyTimesAtOnce(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	id := uuid.New()
	tell(t, in, id, checkout.TypeOrderCreated)
	var clicks sync.WaitGroup
	for range 20 {
		clicks.Go(func() {
			if a := api.Do(http.MethodPost, "/v1/orders/"+id.String()+"/cancel", ""); a.Status != http.StatusOK {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		})
	}
	clicks.Wait()
	if got := servicetest.Types(servicetest.Emitted(t, f.kit.Pool)[id]); !slices.Equal(got, []string{order.TypeCancelled}) {
		t.Errorf("announced %v, want one cancellation", got)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	confirmedID, early := uuid.New(), uuid.New()
	tell(t, in, confirmedID, checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeCompleted)
	tell(t, in, early, inventory.TypeReserved)
	for _, c := range []struct {
		method, path string
		status       int
		code, field  string
	}{
		{"GET", "/v1/orders/7", 400, "not_a_uuid", "id"},
		{"GET", "/v1/orders/" + uuid.NewString(), 404, "order_not_found", ""},
		{"GET", "/v1/orders/" + early.String(), 404, "order_not_found", ""},
		{"POST", "/v1/orders/7/cancel", 400, "not_a_uuid", "id"},
		{"POST", "/v1/orders/" + uuid.NewString() + "/cancel", 404, "order_not_found", ""},
		{"POST", "/v1/orders/" + early.String() + "/cancel", 404, "order_not_found", ""},
		{"POST", "/v1/orders/" + confirmedID.String() + "/cancel", 409, "order_confirmed", ""},
		{"GET", "/v1/orders", 400, "required", "customer_id"},
		{"GET", "/v1/orders?customer_id=1&limit=0", 400, "out_of_range", "limit"},
		{"GET", "/v1/orders?customer_id=1&limit=201", 400, "out_of_range", "limit"},
		{"GET", "/v1/orders?customer_id=1&limit=many", 400, "out_of_range", "limit"},
		{"GET", "/v1/orders?customer_id=1&cursor=2", 400, "not_a_cursor", "cursor"},
	} {
		a := api.Do(c.method, c.path, "")
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s %s: %d %s, want %d %s %s", c.method, c.path, a.Status, a.Body, c.status, c.code, c.field)
		}
	}
}

type page struct {
	Orders []view `json:"orders"`
	Next   string `json:"next_cursor"`
}

func list(t *testing.T, api *servicetest.Client, query string) page {
	t.Helper()
	a := api.Do(http.MethodGet, "/v1/orders?"+query, "")
	var p page
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil || a.Status != http.StatusOK {
		t.Fatalf("list: %d %s: %v", a.Status, a.Body, err)
	}
	return p
}

func TestPagesHoldEachOrderOnceNewestFirst(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	var want []uuid.UUID
	for range 7 {
		id := uuid.Must(uuid.NewV7())
		tell(t, in, id, checkout.TypeOrderCreated)
		want = append([]uuid.UUID{id}, want...)
	}
	tell(t, in, uuid.New(), inventory.TypeReserved) // of nobody yet
	for _, limit := range []int{1, 3, 7, 50} {
		var got []uuid.UUID
		for cursor := ""; ; {
			p := list(t, api, fmt.Sprintf("customer_id=17850&limit=%d&cursor=%s", limit, cursor))
			for _, o := range p.Orders {
				got = append(got, o.ID)
			}
			if cursor = p.Next; cursor == "" || len(got) > len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
	if p := list(t, api, "customer_id=nobody"); p.Orders == nil || len(p.Orders) != 0 || p.Next != "" {
		t.Errorf("orders of nobody: %+v, want an empty list", p)
	}
}

func TestTimelineIsInTheSequenceOfEvents(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	id := uuid.New()
	for _, told := range []struct {
		eventType string
		nth       int
	}{
		{inventory.TypeReservationExpired, 2}, {checkout.TypeOrderCreated, 0},
		{payment.TypeCompleted, 3}, {inventory.TypeReserved, 1},
	} {
		in.Deliver(servicetest.Message(t, sample(told.eventType, id), happenedAt(told.nth)))
	}
	var v view
	a := api.Do(http.MethodGet, "/v1/orders/"+id.String(), "")
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil || a.Status != http.StatusOK {
		t.Fatalf("get: %d %s: %v", a.Status, a.Body, err)
	}
	var got []string
	for _, m := range v.Timeline {
		got = append(got, m.Event)
	}
	want := []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationExpired,
		payment.TypeCompleted, order.TypeCancelled,
	}
	if !slices.Equal(got, want) {
		t.Errorf("timeline %v, want %v", got, want)
	}
	if v.Status != Cancelled || v.Reason == nil || v.Reason.Code != events.ReasonReservationExpired || v.WaitsFor != "" {
		t.Errorf("order %+v, want it cancelled because its reservation expired", v)
	}
}

// Each order that ends is timed once, by how it ends, whatever is delivered again.
func TestHowLongOrdersTake(t *testing.T) {
	f := newFixture(t)
	s := serverOf(f.kit)
	s.took = f.kit.Metrics.SagaSeconds()
	in, api := servicetest.RunInbox(t, f.kit, s.handle), servicetest.Serve(t, s.routes)
	paid, cancelled := uuid.New(), uuid.New()
	tell(t, in, paid, checkout.TypeOrderCreated, inventory.TypeReserved)
	last := servicetest.Message(t, sample(payment.TypeCompleted, paid), happenedAt(2))
	in.Deliver(last)
	in.Deliver(last)
	tell(t, in, cancelled, checkout.TypeOrderCreated)
	for range 2 {
		if a := api.Do(http.MethodPost, "/v1/orders/"+cancelled.String()+"/cancel", ""); a.Status != http.StatusOK {
			t.Fatalf("cancel: %d %s", a.Status, a.Body)
		}
	}
	tell(t, in, uuid.New(), checkout.TypeOrderCreated) // is under way
	servicetest.CheckMetrics(t, f.kit.Metrics,
		`quadrille_saga_seconds_count{outcome="confirmed",service="order"} 1`,
		`quadrille_saga_seconds_count{outcome="cancelled",service="order"} 1`)
}
