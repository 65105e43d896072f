package order

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const history = `
	insert into orders (id, status, customer_id, lines, amount, currency, traceparent, placed_at, reserved_at, paid_at, settled_at, version)
	select gen_random_uuid(), 'confirmed', 'customer-' || i % 1000, '[]', 1, 'GBP', '', now(), now(), now(), now(), 4
	from generate_series(1, 50000) i`

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), []string{history}, []string{"orders_pkey", "orders_by_customer"},
		func(t *testing.T, kit *service.Kit) {
			api, id := fixture{kit}.serve(t), uuid.New()
			tell(t, servicetest.RunInbox(t, kit, serverOf(kit).handle), id, checkout.TypeOrderCreated, inventory.TypeReserved)
			for _, c := range [][2]string{
				{http.MethodGet, "/v1/orders/" + id.String()},
				{http.MethodGet, "/v1/orders?customer_id=customer-7"},
				{http.MethodPost, "/v1/orders/" + id.String() + "/cancel"},
			} {
				if a := api.Do(c[0], c[1], ""); a.Status != http.StatusOK {
					t.Errorf("%s: %d %s", c, a.Status, a.Body)
				}
			}
		})
}
