package checkout

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/servicetest"
)

// While the next version adds its columns, orders are placed, read and settled as
// before, those placed earlier too.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t)
	api, in := f.replica(t), servicetest.RunInbox(t, f.kit, handle)
	earlier := place(t, api)
	placed := 1
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		id := place(t, api)
		placed++
		in.Deliver(
			servicetest.Message(t, orderConfirmed(events.OfOrder{OrderID: earlier}), epoch),
			servicetest.Message(t, orderConfirmed(events.OfOrder{OrderID: uuid.New()}), epoch)) // none of ours
		for _, id := range []uuid.UUID{earlier, id} {
			if a := api.Do(http.MethodGet, "/v1/checkouts/"+id.String(), ""); a.Status != http.StatusOK {
				t.Errorf("GET: %d %s", a.Status, a.Body)
			}
		}
		found, err := checkouts.Load(t.Context(), f.kit.Pool, []uuid.UUID{earlier, id})
		if err != nil {
			t.Fatal(err)
		}
		if found[earlier].Status != Confirmed || found[id].Status != Placed {
			t.Errorf("the earlier order is %s, the new one %s", found[earlier].Status, found[id].Status)
		}
		earlier = id
	})
	f.checkPlaced(t, placed)
}
