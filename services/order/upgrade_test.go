package order

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/servicetest"
)

// While the next version adds its columns, orders are heard of, read, cancelled and
// settled as before, those of earlier too.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), f.serve(t)
	earlier := uuid.New()
	tell(t, in, earlier, checkout.TypeOrderCreated)
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		id, unwanted := uuid.New(), uuid.New()
		tell(t, in, id, checkout.TypeOrderCreated)
		tell(t, in, unwanted, checkout.TypeOrderCreated)
		tell(t, in, earlier, checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeCompleted)
		for _, c := range [][2]string{
			{http.MethodGet, "/v1/orders/" + earlier.String()},
			{http.MethodGet, "/v1/orders?customer_id=17850"},
			{http.MethodPost, "/v1/orders/" + unwanted.String() + "/cancel"},
		} {
			if a := api.Do(c[0], c[1], ""); a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", c, a.Status, a.Body)
			}
		}
		found, err := orders.Load(t.Context(), f.kit.Pool, []uuid.UUID{id, unwanted, earlier})
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[uuid.UUID]Status{id: Pending, unwanted: Cancelled, earlier: Confirmed} {
			if got := found[id].Status; got != want {
				t.Errorf("an order is %s, want %s", got, want)
			}
		}
		earlier = id
	})
}
