package inventory

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

var history = []string{
	`insert into reservations
	select gen_random_uuid(), case when held then 'held' else 'shipped' end, '', '[]', '', now(), now(), null,
	       case when held then null else now() end, 2
	from (select i, i % 1000 = 0 as held from generate_series(1, 50000) i) n`,
	`insert into stock select 'sku-' || i, 'leeds', 1000 from generate_series(1, 20000) i`,
}

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), history, []string{
		"reservations_pkey", "reservations_expiring", "stock_pkey", "stock_levels_pkey", "stock_levels_changes_pkey"},
		func(t *testing.T, kit *service.Kit) {
			f := fixture{kit}
			n, err := (&expirer{outbox: kit.Outbox, log: kit.Log}).expireOnce(t.Context())
			if err != nil || n != 50 {
				t.Errorf("expired %d (%v), want 50", n, err)
			}
			in, id := f.inbox(t, time.Minute), uuid.New()
			in.Deliver(servicetest.Message(t, created(id, events.Line{SKU: "sku-7", Quantity: 1}), epoch))
			in.Deliver(servicetest.Message(t, orderConfirmed(id), epoch))
			f.put(t, Stock{SKU: "sku-7", Warehouse: "york", OnHand: 3})
			f.sweep(t)
			if _, err := (&stockSnapshot{pool: kit.Pool, log: kit.Log}).ListStock(t.Context(), &inventoryv1.ListStockRequest{}); err != nil {
				t.Error(err)
			}
			if a := f.serve(t).Do(http.MethodGet, "/v1/stock/sku-7", ""); a.Status != http.StatusOK {
				t.Errorf("GET stock: %d %s", a.Status, a.Body)
			}
		})
}
