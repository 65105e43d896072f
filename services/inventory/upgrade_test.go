package inventory

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/inventory"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/servicetest"
)

// While the next version adds its columns, stock is counted, reserved, expired,
// allocated, released and shipped as before, that of earlier orders too.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 10_000})
	in, api, calls := f.inbox(t, time.Nanosecond), f.serve(t), f.allocations()
	expiry := &expirer{outbox: f.kit.Outbox, log: f.kit.Log}
	earlier := reserve(t, in, 2)
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		orders := reserve(t, in, 2)
		in.Deliver(
			servicetest.Message(t, orderConfirmed(earlier[0]), epoch),
			servicetest.Message(t, paymentFailed(earlier[1]), epoch))
		if n, err := expiry.expireOnce(t.Context()); err != nil || n != len(orders) {
			t.Errorf("%d reservations expired (%v), want %d", n, err, len(orders))
		}
		f.put(t, Stock{SKU: uuid.NewString(), Warehouse: "leeds", OnHand: 3})
		f.sweep(t)
		f.checkLevels(t)
		if a := api.Do(http.MethodGet, "/v1/stock/a", ""); a.Status != http.StatusOK {
			t.Errorf("GET stock: %d %s", a.Status, a.Body)
		}
		company := uuid.New()
		_, err := calls.Allocate(t.Context(), ask(company, "a", 1, false))
		if err == nil {
			_, err = calls.Release(t.Context(), &inventoryv1.ReleaseRequest{OrderId: company.String()})
		}
		if err != nil {
			t.Errorf("allocate and release: %v", err)
		}
		emitted := servicetest.Emitted(t, f.kit.Pool)
		if got := servicetest.Types(emitted[earlier[0]]); got[len(got)-1] != inventory.TypeCommitted {
			t.Errorf("a paid order had the effects %v, want its stock committed at last", got)
		}
		if got := servicetest.Types(emitted[earlier[1]]); got[len(got)-1] != inventory.TypeReleased {
			t.Errorf("an unpaid order had the effects %v, want its stock released at last", got)
		}
		f.checkBooks(t)
		earlier = orders
	})
}
