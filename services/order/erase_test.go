package order

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/servicetest"
)

// A customer's open order defers the erasure. Settled orders stay, under another id.
func TestACustomerIsErasedOnceNoOrderIsOpen(t *testing.T) {
	f := newFixture(t)
	forget := erasure.New(f.kit, erase, func(e events.Erased) events.Event { return order.CustomerErased{Erased: e} })
	in := servicetest.RunInbox(t, f.kit, forget.Handle(serverOf(f.kit).handle))
	confirmed, open := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	tell(t, in, confirmed, checkout.TypeOrderCreated) // by 17850
	tell(t, in, confirmed, inventory.TypeReserved)
	tell(t, in, confirmed, payment.TypeCompleted)
	tell(t, in, open, checkout.TypeOrderCreated)
	request := servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "17850"}, Deadline: time.Now()}, time.Now())
	in.Deliver(request)
	answers := func() []events.Event {
		t.Helper()
		servicetest.EraseDue(t, f.kit.Pool, forget.Next)
		return servicetest.EmittedAbout(t, f.kit.Pool, "17850")
	}
	if got := answers(); len(got) > 0 {
		t.Fatalf("answered %+v while an order is open", got)
	}
	tell(t, in, open, inventory.TypeReservationFailed)
	got := answers()
	if len(got) != 1 || got[0].(*order.CustomerErased).Pseudonymised != 2 {
		t.Fatalf("answered %+v, want 2 pseudonymised", got)
	}
	late := uuid.Must(uuid.NewV7())
	tell(t, in, late, checkout.TypeOrderCreated)
	if found := servicetest.Holding(t, f.kit.Pool, `"17850"`); !slices.Equal(found, []string{"outbox"}) {
		t.Errorf("the id is in %v, want it in the outbox only", found)
	}
	kept, err := orders.Load(t.Context(), f.kit.Pool, []uuid.UUID{confirmed, open, late})
	if err != nil || len(kept) != 3 {
		t.Fatalf("%d orders are kept, %v", len(kept), err)
	}
	for id, o := range kept {
		if !strings.HasPrefix(*o.CustomerID, "erased-") || o.Amount == 0 {
			t.Errorf("order %s is kept as %+v", id, o)
		}
	}
	if *kept[confirmed].CustomerID != *kept[open].CustomerID {
		t.Error("the orders of one customer have two pseudonyms")
	}
}
