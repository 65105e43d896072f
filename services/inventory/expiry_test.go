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

// reserve has orders of one unit each reserved, and returns their ids.
func reserve(t *testing.T, in *servicetest.Inbox, orders int) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, orders)
	batch := make([]inbox.Message, orders)
	for i := range ids {
		ids[i] = uuid.New()
		batch[i] = servicetest.Message(t, created(ids[i], events.Line{SKU: "a", Quantity: 1}), epoch)
	}
	in.Deliver(batch...)
	return ids
}

// Two replicas sweep at once: each reservation expires once, and its stock is
// kept until the order service has answered.
func TestExpiry(t *testing.T) {
	const orders = expireBatch + 100
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: orders})
	in := f.inbox(t, time.Nanosecond)
	ids := reserve(t, in, orders)

	var sweeps sync.WaitGroup
	for range 2 {
		x := &expirer{outbox: f.kit.Outbox, log: f.kit.Log}
		sweeps.Go(func() {
			for range 3 {
				if _, err := x.expireOnce(t.Context()); err != nil {
					t.Errorf("expire: %v", err)
				}
			}
		})
	}
	sweeps.Wait()

	emitted := servicetest.Emitted(t, f.kit.Pool)
	for _, id := range ids {
		if got := servicetest.Types(emitted[id]); !slices.Equal(got, []string{inventory.TypeReserved, inventory.TypeReservationExpired}) {
			t.Fatalf("announced %v, want it reserved and expired once", got)
		}
	}
	if _, held := f.stock(t, "a"); held != orders {
		t.Errorf("%d held after expiry, want all %d until the verdict", held, orders)
	}
	var verdicts []inbox.Message
	for i, id := range ids {
		if i == 0 {
			verdicts = append(verdicts, servicetest.Message(t, orderConfirmed(id), epoch)) // it was paid just then
		} else {
			verdicts = append(verdicts, servicetest.Message(t, orderCancelled(id), epoch))
		}
	}
	in.Deliver(verdicts...)
	if onHand, held := f.stock(t, "a"); onHand != orders-1 || held != 0 {
		t.Errorf("%d on hand, %d held after the verdicts, want %d and 0", onHand, held, orders-1)
	}
	f.checkBooks(t)
}

func TestNothingExpiresEarlyOrOnceItIsSettled(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "leeds", OnHand: 5})
	reserve(t, f.inbox(t, time.Hour), 1)
	in := f.inbox(t, time.Nanosecond)
	settled := reserve(t, in, 2)
	in.Deliver(servicetest.Message(t, orderConfirmed(settled[0]), epoch), servicetest.Message(t, orderCancelled(settled[1]), epoch))
	x := &expirer{outbox: f.kit.Outbox, log: f.kit.Log}
	if n, err := x.expireOnce(t.Context()); n != 0 || err != nil {
		t.Errorf("%d expired, error %v, want none", n, err)
	}
}
