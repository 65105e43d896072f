package checkout

import (
	"net/http"
	"testing"

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

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), []string{history}, []string{"checkouts_pkey", "checkouts_once"},
		func(t *testing.T, kit *service.Kit) {
			f := fixture{kit}
			api, in := f.replica(t), servicetest.RunInbox(t, kit, handle)
			id := place(t, api)
			api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "key-1") // of an earlier order
			in.Deliver(servicetest.Message(t, &order.Confirmed{
				OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", Total: events.Money{Amount: 1, Currency: "GBP"},
			}, epoch))
			for path, want := range map[string]int{id.String(): http.StatusOK, uuid.NewString(): http.StatusNotFound} {
				if a := api.Do(http.MethodGet, "/v1/checkouts/"+path, ""); a.Status != want {
					t.Errorf("GET %s: %d, want %d", path, a.Status, want)
				}
			}
		})
}
