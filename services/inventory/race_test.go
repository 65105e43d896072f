package inventory

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// Two replicas, 200 buyers, one unit.
func TestLastUnit(t *testing.T) {
	const buyers = 200
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 1})
	replicas := []*servicetest.Inbox{f.inbox(t, time.Minute), f.inbox(t, time.Minute)}
	var rush sync.WaitGroup
	for n := range buyers {
		m := servicetest.Message(t, created(uuid.New(), events.Line{SKU: "a", Quantity: 1}), epoch)
		rush.Go(func() { replicas[n%2].Deliver(m) })
	}
	rush.Wait()

	told := make(map[string]int)
	for _, list := range servicetest.Emitted(t, f.kit.Pool) {
		for _, e := range list {
			told[e.Type()]++
		}
	}
	if told[inventory.TypeReserved] != 1 || told[inventory.TypeReservationFailed] != buyers-1 {
		t.Errorf("announced %v, want 1 reserved and %d failed", told, buyers-1)
	}
	if onHand, held := f.stock(t, "a"); onHand != 1 || held != 1 {
		t.Errorf("%d on hand, %d held, want 1 and 1", onHand, held)
	}
}

// The same event at two replicas at the same moment has its effect once.
func TestRedeliveryAtTheSameMoment(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 100})
	replicas := []*servicetest.Inbox{f.inbox(t, time.Minute), f.inbox(t, time.Minute)}
	for range 20 {
		m := servicetest.Message(t, created(uuid.New(), events.Line{SKU: "a", Quantity: 1}), epoch)
		var both sync.WaitGroup
		for _, in := range replicas {
			both.Go(func() { in.Deliver(m) })
		}
		both.Wait()
	}
	if _, held := f.stock(t, "a"); held != 20 {
		t.Errorf("%d held, want 20", held)
	}
	f.checkBooks(t)
}

// Orders, verdicts, expiry and counts of stock all at once, on few SKUs that
// orders name in opposite sequence: nothing deadlocks for good, and the books
// are right.
func TestBooksUnderContention(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 40}, Stock{SKU: "b", Warehouse: "leeds", OnHand: 60},
		Stock{SKU: "a", Warehouse: "york", OnHand: 40})
	replicas := []*servicetest.Inbox{f.inbox(t, time.Nanosecond), f.inbox(t, time.Nanosecond)}
	x := &expirer{outbox: f.kit.Outbox, log: f.kit.Log}
	var all sync.WaitGroup
	for n := range 60 {
		id := uuid.New()
		lines := []events.Line{{SKU: "a", Quantity: 1}, {SKU: "b", Quantity: 1}}
		if n%2 == 1 {
			slices.Reverse(lines)
		}
		life := []inbox.Message{
			servicetest.Message(t, created(id, lines...), epoch), servicetest.Message(t, orderCancelled(id), epoch),
		}
		if n%3 == 0 && n < 30 { // there is enough for all: what is confirmed must have been held
			life[1] = servicetest.Message(t, orderConfirmed(id), epoch)
		}
		all.Go(func() {
			for i, m := range life {
				replicas[(n+i)%2].Deliver(m)
			}
		})
	}
	for n := range 20 {
		all.Go(func() {
			if _, err := x.expireOnce(t.Context()); err != nil {
				t.Errorf("expire: %v", err)
			}
			f.sweep(t)
			// Never below what may be held.
			count := []Stock{{SKU: "b", Warehouse: "leeds", OnHand: int64(100 + n)}, {SKU: "a", Warehouse: "york", OnHand: int64(100 + n)}}
			if err := setStock(t.Context(), f.kit.Pool, count, precondition{}); err != nil {
				t.Errorf("set stock: %v", err)
			}
		})
	}
	all.Wait()
	f.checkBooks(t)
	f.checkCommitted(t)
	f.sweep(t)
	f.checkLevels(t)
	if _, held := f.stock(t, "a"); held != 0 {
		t.Errorf("%d units stay held", held)
	}
}
