package checkout

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const history = `
	insert into checkouts
	select gen_random_uuid(), 'key-' || i, '', 'customer', '[]', 1, 'GBP', '', 'confirmed', null, now(), now(), 2
	from generate_series(1, 50000) i`

const quotes = `insert into quoted_orders select gen_random_uuid(), true from generate_series(1, 50000) i`

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), []string{history, quotes}, []string{"checkouts_pkey", "checkouts_once", "quoted_orders_pkey"},
		func(t *testing.T, kit *service.Kit) {
			f := fixture{kit}
			api, in := f.replica(t), servicetest.RunInbox(t, kit, handle)
			id := place(t, api)
			api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "key-1") // of an earlier order
			signer, q := newSigner(t, time.Now().Add(time.Hour)), newQuote()
			for _, key := range []string{"by-quote", "in-another-tab", "by-quote"} {
				post(f.withoutPrice(t, keysOf(t, signer)), key, quoted(signer.sign(t, q)))
			}
			if found := known(t, f, q.ID, uuid.New()); len(found) != 1 {
				t.Errorf("known are %v, want %s", found, q.ID)
			}
			in.Deliver(servicetest.Message(t, &order.Confirmed{
				OfOrder: events.OfOrder{OrderID: id}, CustomerID: "customer-17850", Total: events.Money{Amount: 1, Currency: "GBP"},
			}, epoch))
			for path, want := range map[string]int{id.String(): http.StatusOK, uuid.NewString(): http.StatusNotFound} {
				if a := api.Do(http.MethodGet, "/v1/checkouts/"+path, ""); a.Status != want {
					t.Errorf("GET %s: %d, want %d", path, a.Status, want)
				}
			}
		})
}
