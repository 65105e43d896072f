package inventory

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
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
	Shipped:  {{inventory.TypeReserved}},
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
	if _, held := f.stock(t, "a"); held != 0 {
		t.Errorf("%d units stay held", held)
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
		})
	}
}
