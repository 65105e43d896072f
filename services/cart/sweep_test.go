package cart

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/cart"
	"quadrille.internal/platform/servicetest"
)

func (f fixture) sweeper() *sweeper {
	return &sweeper{outbox: f.kit.Outbox, log: slog.New(slog.DiscardHandler), abandoned: time.Hour, guests: 48 * time.Hour}
}

func (f fixture) sweep(t *testing.T) {
	t.Helper()
	if _, err := f.sweeper().once(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// age makes carts and orders so much older.
func (f fixture) age(t *testing.T, by string) {
	t.Helper()
	servicetest.Exec(t, f.kit.Pool, `update carts set changed_at = changed_at - $1::text::interval`, by)
	servicetest.Exec(t, f.kit.Pool, `update cart_orders set heard_at = heard_at - $1::text::interval`, by)
}

// abandoned are the events about a cart.
func (f fixture) abandoned(t *testing.T, s *shopper) (list []events.Event) {
	t.Helper()
	return servicetest.EmittedAbout(t, f.kit.Pool, s.id)
}

// A cart that is left is announced once, and once more after it was changed and left
// again; one without lines never.
func TestAbandonedCarts(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	guest, customer, empty := f.guest(t, api), f.customer(t, api, "c1"), f.guest(t, api)
	guest.put("a", "2")
	customer.put("b", "1")
	f.sweep(t)
	if n := len(f.abandoned(t, guest)); n > 0 {
		t.Errorf("a cart that was just changed was announced %d times", n)
	}
	f.age(t, "2 hours")
	f.sweep(t)
	f.sweep(t)
	if told := f.abandoned(t, guest); len(told) != 1 || told[0].(*cart.Abandoned).CustomerID != "" ||
		!slices.Equal(told[0].(*cart.Abandoned).Lines, []Line{{SKU: "a", Quantity: 2}}) {
		t.Errorf("of the guest's cart was said %+v", told)
	}
	if told := f.abandoned(t, customer); len(told) != 1 || told[0].(*cart.Abandoned).CustomerID != "c1" {
		t.Errorf("of the customer's cart was said %+v", told)
	}
	if told := f.abandoned(t, empty); len(told) > 0 {
		t.Errorf("of an empty cart was said %+v", told)
	}
	guest.put("a", "3")
	f.age(t, "2 hours")
	f.sweep(t)
	if n := len(f.abandoned(t, guest)); n != 2 {
		t.Errorf("changed and left again, the cart was announced %d times, want 2", n)
	}
}

// Carts of guests end, those of customers do not.
func TestGuestsCartsAreDeleted(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	old, customer := f.guest(t, api), f.customer(t, api, "c1")
	old.put("a", "1")
	customer.put("a", "1")
	f.age(t, "3 days")
	young := f.guest(t, api)
	f.sweep(t)
	if a := old.do(http.MethodGet, "", ""); a.Status != http.StatusNotFound {
		t.Errorf("an old guest's cart: %d", a.Status)
	}
	for name, s := range map[string]*shopper{"a young guest's": young, "an old customer's": customer} {
		if a := s.do(http.MethodGet, "", ""); a.Status != http.StatusOK {
			t.Errorf("%s cart: %d", name, a.Status)
		}
	}
}

// What ended is forgotten after a month, what is open never.
func TestOrdersThatEndedAreDeleted(t *testing.T) {
	f := newFixture(t)
	open, ended, young := uuid.New(), uuid.New(), uuid.New()
	servicetest.Exec(t, f.kit.Pool, `insert into cart_orders (id, cart_id, lines, verdict, heard_at, version) values
		($1, $1, '[]', '', now() - interval '40 days', 1),
		($2, $2, '[]', 'cancelled', now() - interval '40 days', 1),
		($3, $3, '[]', 'confirmed', now() - interval '20 days', 1)`, open, ended, young)
	f.sweep(t)
	found, err := orders.Load(t.Context(), f.kit.Pool, []uuid.UUID{open, ended, young})
	if err != nil || found[open] == nil || found[ended] != nil || found[young] == nil {
		t.Errorf("left are %v, %v", found, err)
	}
}
