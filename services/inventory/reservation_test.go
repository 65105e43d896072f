package inventory

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// A story is what an order's reservation hears, in any sequence.
type story struct {
	name  string
	hears func(uuid.UUID) []events.Event
	// ends are the statuses that it may end with.
	ends []Status
}

var stories = []story{
	{"confirmed", func(id uuid.UUID) []events.Event {
		return []events.Event{created(id, events.Line{SKU: "a", Quantity: 2}), orderConfirmed(id)}
	}, []Status{Shipped}},
	{"cancelled", func(id uuid.UUID) []events.Event {
		return []events.Event{created(id, events.Line{SKU: "a", Quantity: 2}), orderCancelled(id)}
	}, []Status{Released, Refused}},
	{"payment failed and cancelled", func(id uuid.UUID) []events.Event {
		return []events.Event{created(id, events.Line{SKU: "a", Quantity: 2}), paymentFailed(id), orderCancelled(id)}
	}, []Status{Released, Refused}},
	{"out of stock and cancelled", func(id uuid.UUID) []events.Event {
		return []events.Event{created(id, events.Line{SKU: "nowhere", Quantity: 2}), orderCancelled(id)}
	}, []Status{Refused}},
}

// announcements that may be made of a reservation by the time it ends.
var announcements = map[Status][][]string{
	Shipped:  {{inventory.TypeReserved, inventory.TypeCommitted}},
	Released: {{inventory.TypeReserved, inventory.TypeReleased}},
	Refused:  {{}, {inventory.TypeReservationFailed}},
}

// Every sequence of a story, with every event repeated, each lived through by an
// order of its own, side by side on PostgreSQL.
func TestEverySequence(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 500}, Stock{SKU: "a", Warehouse: "york", OnHand: 400})
			in := f.inbox(t, time.Minute)
			var ids []uuid.UUID
			var lives [][]inbox.Message
			steps := len(s.hears(uuid.Nil))
			for sequence := range servicetest.Redelivered(steps) {
				id := uuid.New()
				told := make([]inbox.Message, steps)
				for n, e := range s.hears(id) {
					told[n] = servicetest.Message(t, e, epoch)
				}
				var life []inbox.Message
				for _, n := range sequence {
					life = append(life, told[n])
				}
				ids, lives = append(ids, id), append(lives, life)
			}
			for step := range steps + 1 {
				var batch []inbox.Message
				for _, life := range lives {
					batch = append(batch, life[step])
				}
				in.Deliver(batch...)
			}
			s.check(t, f, ids)
		})
	}
}

func (s story) check(t *testing.T, f fixture, ids []uuid.UUID) {
	t.Helper()
	found, err := reservations.Load(t.Context(), f.kit.Pool, ids)
	if err != nil {
		t.Fatal(err)
	}
	emitted := servicetest.Emitted(t, f.kit.Pool)
	for _, id := range ids {
		if found[id] == nil {
			t.Fatal("there is no reservation")
		}
		status, told := found[id].Status, servicetest.Types(emitted[id])
		if !slices.Contains(s.ends, status) {
			t.Errorf("ends %s, want one of %v", status, s.ends)
		}
		if !slices.ContainsFunc(announcements[status], func(want []string) bool { return slices.Equal(told, want) }) {
			t.Errorf("announced %v of what ends %s", told, status)
		}
	}
	f.checkBooks(t)
	f.checkCommitted(t)
	if _, held := f.stock(t, "a"); held != 0 {
		t.Errorf("%d units stay held", held)
	}
}

// A company's order is allocated by a call, and b2b says that it is complete. One of
// an earlier release says order.confirmed beside it.
func TestEverySequenceOfACompanysOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		hears []func(uuid.UUID) events.Event
	}{
		{"completed", []func(uuid.UUID) events.Event{func(id uuid.UUID) events.Event { return companyCompleted(id) }}},
		{"completed and confirmed", []func(uuid.UUID) events.Event{
			func(id uuid.UUID) events.Event { return companyCompleted(id) },
			func(id uuid.UUID) events.Event { return orderConfirmed(id) },
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 1000})
			in, a := f.inbox(t, time.Minute), f.allocations()
			var ids []uuid.UUID
			// The call is the last step; calling twice is what a lost answer leads to.
			for sequence := range servicetest.Redelivered(len(c.hears) + 1) {
				id := uuid.New()
				ids = append(ids, id)
				told := make([]inbox.Message, len(c.hears))
				for n, event := range c.hears {
					told[n] = servicetest.Message(t, event(id), epoch)
				}
				for _, n := range sequence {
					if n < len(told) {
						in.Deliver(told[n])
					} else if _, err := a.Allocate(t.Context(), ask(id, "a", 2, false)); err != nil {
						t.Fatal(err)
					}
				}
			}
			emitted := servicetest.Emitted(t, f.kit.Pool)
			for _, id := range ids {
				if told := servicetest.Types(emitted[id]); !slices.Equal(told, []string{inventory.TypeCommitted}) {
					t.Errorf("announced %v, want the stock committed, once", told)
				}
			}
			f.checkBooks(t)
			f.checkCommitted(t)
		})
	}
}

// What was cancelled before its call comes gets no stock.
func TestACancelledOrderIsNotAllocated(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 10})
	id := uuid.New()
	f.inbox(t, time.Minute).Deliver(servicetest.Message(t, orderCancelled(id), epoch))
	answer, err := f.allocations().Allocate(t.Context(), ask(id, "a", 2, false))
	if err != nil || len(answer.GetAllocations()) > 0 {
		t.Errorf("answered %v, %v, want no stock", answer, err)
	}
	f.checkBooks(t)
}

// Of an order by quote, stock is held for the lines, and what is charged is the total with
// discounts, shipping and tax.
func TestAnOrderByQuoteReservesItsTotal(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 9})
	id := uuid.New()
	total := events.Money{Amount: 719, Currency: "GBP"}
	f.inbox(t, time.Minute).Deliver(servicetest.Message(t, &checkout.OrderCreatedV2{
		OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", PaymentToken: "tok_success", QuoteID: id, Total: total,
		Lines:  []events.Line{{SKU: "a", Quantity: 2, UnitPrice: 100}},
		Extras: events.Extras{Adjustments: []events.Adjustment{{Name: "SPRING10", Amount: -20, Line: 1}}, Shipping: 499, Tax: 40},
	}, epoch))
	emitted := servicetest.Emitted(t, f.kit.Pool)[id]
	if len(emitted) != 1 {
		t.Fatalf("emitted %+v, want one reservation", emitted)
	}
	if r, ok := emitted[0].(*inventory.Reserved); !ok || r.Total != total {
		t.Errorf("emitted %+v, want the total %v", emitted[0], total)
	}
	if _, held := f.stock(t, "a"); held != 2 {
		t.Errorf("%d held, want 2", held)
	}
}

// A contradiction is not swallowed: it is parked for somebody to look at.
func TestContradictionsAreParked(t *testing.T) {
	for name, contradiction := range map[string][2]func(uuid.UUID) events.Event{
		"confirmed after it was released": {
			func(id uuid.UUID) events.Event { return orderCancelled(id) },
			func(id uuid.UUID) events.Event { return orderConfirmed(id) }},
		"cancelled after it was shipped": {
			func(id uuid.UUID) events.Event { return orderConfirmed(id) },
			func(id uuid.UUID) events.Event { return orderCancelled(id) }},
		"a company's, completed after it was released": {
			func(id uuid.UUID) events.Event { return orderCancelled(id) },
			func(id uuid.UUID) events.Event { return companyCompleted(id) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 9})
			in, id := f.inbox(t, time.Minute), uuid.New()
			in.Deliver(servicetest.Message(t, created(id, events.Line{SKU: "a", Quantity: 2}), epoch))
			in.Deliver(servicetest.Message(t, contradiction[0](id), epoch))
			if parked := in.DeliverAny(servicetest.Message(t, contradiction[1](id), epoch)); len(parked) != 1 {
				t.Errorf("parked %v, want one", parked)
			}
			f.checkBooks(t)
			f.checkCommitted(t)
		})
	}
}
