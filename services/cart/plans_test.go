package cart

import (
	"net/http"
	"testing"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

var history = []string{
	`insert into carts
	select gen_random_uuid(), case when i % 2 = 0 then 'customer-' || i end, case when i % 2 = 1 then 'hash-' || i end,
	       '[{"sku": "a", "quantity": 1}]', now(), now() - i * interval '1 minute', case when i > 30 then now() end, 1
	from generate_series(1, 20000) i`,
	`insert into products select 'product-' || i, 1, false, case when i % 100 = 0 then jsonb_build_object('retired', array['sku-' || i]) else '{}' end
	from generate_series(1, 20000) i`,
	`insert into cart_orders
	select gen_random_uuid(), gen_random_uuid(), '[]', case when i % 1000 = 0 then '' else 'confirmed' end, now() - i * interval '1 minute', 1
	from generate_series(1, 50000) i`,
}

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), history, []string{
		"carts_pkey", "carts_of_customers", "carts_left", "carts_of_guests", "cart_orders_pkey", "cart_orders_open", "cart_orders_settled", "products_retired"},
		func(t *testing.T, kit *service.Kit) {
			f := fixture{kit: kit}
			api := f.serve(t)
			guest, customer := f.guest(t, api), f.customer(t, api, "customer-8")
			guest.put("b", "2")
			if a := customer.merge(guest); a.Status != http.StatusOK {
				t.Errorf("merge: %d %s", a.Status, a.Body)
			}
			customer.lines()
			f.sweep(t)
		})
}
