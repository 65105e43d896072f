package importer

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/retail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newImporter(t *testing.T, handler http.Handler, pool *pgxpool.Pool) *Importer {
	server := httptest.NewServer(handler)
	client := api.New(api.URLs{Checkout: api.Access{URL: server.URL}, Order: api.Access{URL: server.URL}, InventoryAdmin: api.Access{URL: server.URL}}, 0)
	t.Cleanup(func() { client.Close(); server.Close() })
	return &Importer{Client: client, Orders: pool, Token: "tok_success", Concurrency: 4, Advance: func() {}}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func TestPlaceSortsOutWhatBecameOfEachOrder(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/checkouts", func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Idempotency-Key") {
		case "new":
			answer(w, http.StatusAccepted, api.Receipt{OrderID: uuid.New(), PlacedAt: time.Now()})
		case "old":
			answer(w, http.StatusAccepted, api.Receipt{OrderID: uuid.New(), PlacedAt: time.Now().Add(-time.Hour)})
		case "other":
			answer(w, http.StatusUnprocessableEntity, map[string]string{"code": "idempotency_mismatch", "detail": "Used."})
		}
	})
	in := newImporter(t, mux, nil)
	placed, err := in.Place(t.Context(), []retail.Order{{Key: "new"}, {Key: "old"}, {Key: "other", Invoice: "7"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(placed.IDs) != 2 || placed.Before != 1 || len(placed.Refused) != 1 || placed.Refused[0].Invoice != "7" {
		t.Errorf("placed %+v", placed)
	}
}

func TestPlaceStopsWhenNobodyAnswers(t *testing.T) {
	in := &Importer{Client: api.New(api.URLs{Checkout: api.Access{URL: "http://127.0.0.1:1"}}, 0), Concurrency: 1, Advance: func() {}}
	if _, err := in.Place(t.Context(), make([]retail.Order, 3)); err == nil {
		t.Error("orders that could not be placed were not noticed")
	}
}

// Stock that orders hold is not for sale: it is counted on top of what is demanded.
func TestRestockLeavesWhatIsHeldAside(t *testing.T) {
	var mu sync.Mutex
	onHand, held := map[string]int64{}, map[string]int64{}
	var most string // the warehouse where orders hold stock already
	for warehouse, units := range retail.Spread("A1", 100) {
		if most == "" || units > retail.Spread("A1", 100)[most] {
			most = warehouse
		}
	}
	held[most], onHand[most] = 500, 500

	view := func(w http.ResponseWriter) {
		s := api.Stock{SKU: "A1"}
		for _, name := range slices.Sorted(maps.Keys(onHand)) {
			s.Available += onHand[name] - held[name]
			s.Warehouses = append(s.Warehouses, api.Warehouse{
				Warehouse: name, OnHand: onHand[name], Held: held[name], Available: onHand[name] - held[name],
			})
		}
		answer(w, http.StatusOK, s)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/stock/A1", func(w http.ResponseWriter, _ *http.Request) { view(w) })
	mux.HandleFunc("PUT /v1/stock/A1", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var body struct{ Warehouses []api.Count }
		json.NewDecoder(r.Body).Decode(&body)
		for _, c := range body.Warehouses {
			if c.OnHand < held[c.Warehouse] {
				answer(w, http.StatusConflict, map[string]string{"code": "stock_below_held", "detail": "No."})
				return
			}
		}
		for _, c := range body.Warehouses {
			onHand[c.Warehouse] = c.OnHand
		}
		view(w)
	})
	in := newImporter(t, mux, nil)
	for _, before := range []int64{500, 30} { // more than is demanded, and less
		held[most] = before
		if err := in.Restock(t.Context(), map[string]int64{"A1": 100}); err != nil {
			t.Fatal(err)
		}
		var available int64
		for name := range onHand {
			available += onHand[name] - held[name]
		}
		if available != 100 {
			t.Errorf("with %d held, %d are for sale, want 100: %v", before, available, onHand)
		}
	}
}

func TestAwait(t *testing.T) {
	pool := pgtest.Open(t, os.DirFS("../../services/order"))
	confirmed, cancelled, waiting, unheard := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	insert := func(id uuid.UUID, status string, reason any) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `insert into orders (id, status, reason, amount, currency, traceparent, placed_at, reserved_at, paid_at, settled_at, version)
			values ($1, $2, $3, 1, 'GBP', '', now(), now(), now(), case when $2 <> 'pending' then now() + interval '2 seconds' end, 1)`, id, status, reason)
		if err != nil {
			t.Fatal(err)
		}
	}
	insert(confirmed, "confirmed", nil)
	insert(cancelled, "cancelled", events.Reason{Code: "out_of_stock", Message: "None."})
	insert(waiting, "pending", nil)
	in := &Importer{Orders: pool, Advance: func() {}}

	ends, left, err := in.Await(t.Context(), []uuid.UUID{confirmed, cancelled, waiting, unheard}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(ends) != 2 || ends[0].Took != 2*time.Second {
		t.Errorf("ends are %+v", ends)
	}
	if left["payment"] != 1 || left["checkout"] != 1 || len(left) != 2 {
		t.Errorf("waiting are %v", left)
	}

	in.Advance = sync.OnceFunc(func() { // told of the first, the last two settle
		insert(unheard, "confirmed", nil)
		if _, err := pool.Exec(t.Context(), `update orders set status = 'confirmed', settled_at = now() where id = $1`, waiting); err != nil {
			t.Error(err)
		}
	})
	ends, left, err = in.Await(t.Context(), []uuid.UUID{confirmed, cancelled, waiting, unheard}, time.Minute)
	if err != nil || len(ends) != 4 || len(left) != 0 {
		t.Errorf("ends are %+v, waiting %v, error %v", ends, left, err)
	}
}
