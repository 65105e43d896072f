package checkout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/checkout/audit"
)

// Checkout takes nothing from who must be erased, and answers once its orders are settled:
// so none can be on its way when the last service has answered.
func TestACustomerIsErasedOnceNoCheckoutIsOpen(t *testing.T) {
	f := newFixture(t)
	api := f.replica(t)
	forget := erasure.New(f.kit, erase, func(e events.Erased) events.Event { return checkout.CustomerErased{Erased: e} })
	in := servicetest.RunInbox(t, f.kit, forget.Handle(handle))
	id := place(t, api)
	request := servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "customer-17850"}, Deadline: time.Now()}, time.Now())
	in.Deliver(request)
	refused := func(when string) {
		t.Helper()
		a := api.Do("POST", "/v1/checkouts", goodBody, "Idempotency-Key", uuid.NewString())
		if p := a.Problem(); a.Status != 409 || p.Code != "customer_erased" {
			t.Errorf("%s, an order is answered %d %s", when, a.Status, a.Body)
		}
		other := strings.Replace(goodBody, "customer-17850", "another", 1)
		if a := api.Do("POST", "/v1/checkouts", other, "Idempotency-Key", when); a.Status != 202 {
			t.Errorf("%s, an order of somebody else is answered %d %s", when, a.Status, a.Body)
		}
	}
	answers := func() []events.Event {
		t.Helper()
		servicetest.EraseDue(t, f.kit.Pool, forget.Next)
		return servicetest.EmittedAbout(t, f.kit.Pool, "customer-17850")
	}
	refused("asked-for")
	if got := answers(); len(got) > 0 {
		t.Fatalf("answered %+v while an order is open", got)
	}
	in.Deliver(servicetest.Message(t, orderConfirmed(events.OfOrder{OrderID: id}), epoch))
	got := answers()
	if len(got) != 1 || got[0].(*checkout.CustomerErased).Pseudonymised != 1 {
		t.Fatalf("answered %+v, want 1 pseudonymised", got)
	}
	refused("erased")
	servicetest.Exec(t, f.kit.Pool, `delete from outbox where topic = $1`, checkout.TypeOrderCreated)
	if found := servicetest.Holding(t, f.kit.Pool, "customer-17850"); !slices.Equal(found, []string{"outbox"}) {
		t.Errorf("the id is in %v, want it in the answer only", found)
	}
	kept, err := checkouts.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
	if err != nil || kept[id] == nil || kept[id].Status != Confirmed || kept[id].IdempotencyKey != id.String() {
		t.Errorf("kept is %+v, %v", kept[id], err)
	}
}

// The quote that is kept with an order names its customer too; and a quote places nothing
// for who is erased, though it was given before.
func TestAQuoteIsForgottenWithItsCustomer(t *testing.T) {
	f, signer := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	api := f.withoutPrice(t, keysOf(t, signer))
	forget := erasure.New(f.kit, erase, func(e events.Erased) events.Event { return checkout.CustomerErased{Erased: e} })
	in := servicetest.RunInbox(t, f.kit, forget.Handle(handle))
	q := newQuote()
	if a := post(api, "k1", quoted(signer.sign(t, q))); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	in.Deliver(
		servicetest.Message(t, orderConfirmed(events.OfOrder{OrderID: q.ID}), time.Now()),
		servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "customer-17850"}, Deadline: time.Now()}, time.Now()))
	servicetest.EraseDue(t, f.kit.Pool, forget.Next)
	late := newQuote()
	if a := post(api, "k2", quoted(signer.sign(t, late))); a.Status != 409 || a.Problem().Code != "customer_erased" {
		t.Errorf("a quote from before: %d %s", a.Status, a.Body)
	}
	servicetest.Exec(t, f.kit.Pool, `delete from outbox where topic = $1`, checkout.TypeOrderCreatedV2)
	if found := servicetest.Holding(t, f.kit.Pool, "customer-17850"); !slices.Equal(found, []string{"outbox"}) {
		t.Errorf("the id is in %v, want it in the answer only", found)
	}
	if found := known(t, f, q.ID, late.ID); !slices.Equal(found, []string{q.ID.String()}) {
		t.Errorf("known are %v, want %s", found, q.ID)
	}
	servicetest.CheckBooks(t, f.kit.Pool, audit.Books, q.ID, "accepted", "told confirmed")
}
