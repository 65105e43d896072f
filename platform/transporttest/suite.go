package transporttest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/inbox"
)

// Every event reaches all that hear its topic, and leaves the outbox.
func everySubscriberGetsEveryEvent(t *testing.T, h Harness) {
	w := newWorld(t, h)
	order, inventory := w.subscriber(nil), w.subscriber(nil)
	p := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": order, "inventory": inventory})
	for range 20 {
		p.publish("payment", failures(25)...)
	}
	for name, s := range map[string]*subscriber{"order": order, "inventory": inventory} {
		w.await(h.again(), name+" has all 500 events", func() bool { return s.distinct() == 500 })
	}
	w.emptied("payment")
}

// An event comes again, unchanged, until its handler says that it is done: after an answer
// of again, after an error, and after a panic.
func whatIsNotHandledComesAgain(t *testing.T, h Harness) {
	for name, first := range map[string]func() inbox.Verdict{
		"again": func() inbox.Verdict { return inbox.Again },
		"panic": func() inbox.Verdict { panic("as the test wants") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, h)
			order := w.subscriber(func(_ uuid.UUID, times int) inbox.Verdict {
				if times < 3 {
					return first()
				}
				return inbox.Done
			})
			inventory := w.subscriber(nil)
			p := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": order, "inventory": inventory})
			p.publish("payment", failures(1)...)
			w.await(3*h.again(), "it came three times", func() bool {
				order.mu.Lock()
				defer order.mu.Unlock()
				for _, payloads := range order.seen {
					return len(payloads) >= 3
				}
				return false
			})
			w.emptied("payment")
			w.await(w.h.again(), "the other subscriber has one event", func() bool { return inventory.distinct() == 1 })
			order.mu.Lock()
			defer order.mu.Unlock()
			if len(order.seen) != 1 {
				t.Fatalf("one event came under %d ids", len(order.seen))
			}
			for _, payloads := range order.seen {
				for _, payload := range payloads {
					if payload != payloads[0] {
						t.Errorf("it came as %s and as %s", payloads[0], payload)
					}
				}
			}
		})
	}
}

// An event is acknowledged only after its handler has returned: a process that ends before
// leaves it to the next one.
func whatAProcessLeavesUnansweredComesAgain(t *testing.T, h Harness) {
	w := newWorld(t, h)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stuck := w.subscriber(func(uuid.UUID, int) inbox.Verdict {
		once.Do(func() { close(entered) })
		<-release
		return inbox.Done
	})
	t.Cleanup(sync.OnceFunc(func() { close(release) })) // after the processes' end
	first := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": stuck, "inventory": w.subscriber(nil)})
	first.publish("payment", failures(3)...)
	select {
	case <-entered:
	case <-time.After(h.again()):
		t.Fatal("nothing came")
	}
	first.kill()
	t.Cleanup(first.closed)
	next := w.subscriber(nil)
	w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": next, "inventory": w.subscriber(nil)})
	w.await(2*h.again(), "the next process has all three", func() bool { return next.distinct() == 3 })
	w.emptied("payment")
}

// While one of two subscribers is away, the other has its events, and none is lost to the
// one that comes back.
func whatOneSubscriberMissedWaitsForIt(t *testing.T, h Harness) {
	w := newWorld(t, h)
	order := w.subscriber(nil)
	first := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": order})
	first.publish("payment", failures(100)...)
	w.await(h.again(), "the one that is there has all", func() bool { return order.distinct() == 100 })
	first.stop()
	inventory := w.subscriber(nil)
	second := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": order, "inventory": inventory})
	second.publish("payment", failures(1)...)
	w.await(2*h.again(), "the one that was away has all", func() bool { return inventory.distinct() == 101 })
	w.emptied("payment")
}

// An event whose handler does not return holds up nobody else's events, nor the others of
// its topic where the transport hands them over side by side. No call to publish times out
// meanwhile, which could free what it holds up.
func aSlowEventHoldsUpNoOthers(t *testing.T, h Harness) {
	w := newWorld(t, h)
	w.publishTimeout = time.Hour
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	var slow atomic.Pointer[uuid.UUID]
	order := w.subscriber(func(id uuid.UUID, _ int) inbox.Verdict {
		slow.CompareAndSwap(nil, &id)
		if id == *slow.Load() {
			<-release
		}
		return inbox.Done
	})
	inventory := w.subscriber(nil)
	p := w.start(map[string]*subscriber{"payment": w.subscriber(nil), "order": order, "inventory": inventory})
	p.publish("payment", failures(1)...)
	w.await(h.again(), "the slow one has begun", func() bool { return slow.Load() != nil })
	for range 10 {
		p.publish("payment", failures(5)...)
	}
	w.await(h.again(), "the other subscriber has all", func() bool { return inventory.distinct() == 51 })
	if !h.InTurn {
		w.await(h.again(), "the others are handled", func() bool { return order.distinct() == 51 })
	}
	free()
	w.await(h.again(), "all are handled", func() bool { return order.distinct() == 51 })
	w.emptied("payment")
}

// Events that nobody hears leave the outbox too.
func aTopicWithoutSubscribers(t *testing.T, h Harness) {
	w := newWorld(t, h)
	p := w.start(map[string]*subscriber{"b2b": w.subscriber(nil)})
	p.publish("b2b", b2b.OrderRejected{
		OfOrder: events.OfOrder{OrderID: uuid.Must(uuid.NewV7())}, CompanyID: "acme", Reason: events.Reason{Code: "approval_rejected", Message: "No."},
	})
	w.emptied("b2b")
}
