package payment

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
)

// While the next version adds its columns, payments are charged, swept up, refunded
// and shown as before, those of earlier too.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t).withCashier(t)
	operator := servicetest.Serve(t, r.books.operatorRoutes)
	earlier := uuid.New()
	r.deliver(t, inventoryReserved(earlier, "tok_success"))
	f.await(t, earlier, Completed)
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		id := uuid.New()
		r.deliver(t, inventoryReserved(id, "tok_flaky")) // the second attempt is the sweep's
		r.deliver(t, orderCancelled(earlier))
		f.await(t, id, Completed)
		f.await(t, earlier, Refunded)
		if a := operator.Do(http.MethodGet, "/v1/payments/"+id.String(), ""); a.Status != http.StatusOK {
			t.Errorf("show: %d %s", a.Status, a.Body)
		}
		earlier = id
	})
}
