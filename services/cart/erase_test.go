package cart

import (
	"slices"
	"testing"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/cart"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/servicetest"
)

// A token outlives its account by minutes: what is sent with it makes no new cart.
func TestACartIsErased(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	forget := erasure.New(f.kit, erase, func(e events.Erased) events.Event { return cart.CustomerErased{Erased: e} })
	in := servicetest.RunInbox(t, f.kit, forget.Handle(handle))
	f.customer(t, api, "customer-ann").put("TEA", "2")
	other := f.customer(t, api, "ben")
	other.put("TEA", "1")
	in.Deliver(servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "customer-ann"}, Deadline: time.Now()}, time.Now()))
	servicetest.EraseDue(t, f.kit.Pool, forget.Next)
	if got := servicetest.EmittedAbout(t, f.kit.Pool, "customer-ann"); len(got) != 1 || got[0].(*cart.CustomerErased).Deleted != 1 {
		t.Errorf("answered %+v, want 1 deleted", got)
	}
	if a := api.Do("POST", "/v1/carts", "", as("customer-ann")...); a.Problem().Code != "customer_erased" {
		t.Errorf("a new cart is answered %d %s", a.Status, a.Body)
	}
	if left := servicetest.Holding(t, f.kit.Pool, "customer-ann"); !slices.Equal(left, []string{"outbox"}) {
		t.Errorf("the id is in %v, want it in the answer only", left)
	}
	if lines := other.lines(); lines["TEA"] != 1 {
		t.Errorf("somebody else's cart has %v", lines)
	}
}
