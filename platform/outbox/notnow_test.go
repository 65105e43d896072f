package outbox_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/outbox"
)

var errNotNow = fmt.Errorf("%w: a subscriber is away", outbox.ErrNotNow)

// What is not taken now says nothing against the event, its batch or its topic: it stays
// in the table and is tried again when its lease has ended, as often as it takes.
func TestWhatIsNotTakenNowIsTriedAgain(t *testing.T) {
	pool, b := openPool(t), newBroker()
	var mu sync.Mutex
	var slow uuid.UUID
	var tries []time.Time
	var open atomic.Bool
	b.is(func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
		mu.Lock()
		defer mu.Unlock()
		if slow == uuid.Nil {
			slow = batch[0].ID
		}
		for _, m := range batch {
			if m.ID == slow && !open.Load() {
				tries = append(tries, time.Now())
				return []uuid.UUID{slow}, errNotNow
			}
		}
		return nil, nil
	})
	cfg := config(pool, b)
	o := outbox.New(cfg)
	start(t, o)
	began := time.Now()
	commit(t, o, 10)
	eventually(t, "the others of its batch are published", func() bool { return b.distinct() == 9 })
	eventually(t, "it is tried again", func() bool { mu.Lock(); defer mu.Unlock(); return len(tries) >= 3 })
	commit(t, o, 10)
	eventually(t, "others of its topic are published", func() bool { return b.distinct() == 19 })
	var aside int
	if err := pool.QueryRow(t.Context(), `select count(*) from outbox where refused > 0`).Scan(&aside); err != nil || aside > 0 {
		t.Errorf("%d events are set aside for minutes, %v", aside, err)
	}
	mu.Lock()
	for leases, at := range tries { // the first began with the event
		if took := at.Sub(began); took < time.Duration(leases)*cfg.Lease*9/10 {
			t.Errorf("tried for the %d. time after %v, want %d leases of %v to end first", leases+1, took, leases, cfg.Lease)
		}
	}
	mu.Unlock()
	open.Store(true)
	eventually(t, "it is published soon after", func() bool { return b.distinct() == 20 })
	eventually(t, "all rows are removed", empty(t, pool))
}

// A topic of which nothing is taken now is not paused: what is committed next is tried at
// once.
func TestATopicIsNotPausedForWhatIsNotTakenNow(t *testing.T) {
	pool, b := openPool(t), newBroker()
	b.is(func(context.Context, []outbox.Message) ([]uuid.UUID, error) { return nil, errNotNow })
	cfg := config(pool, b)
	cfg.Lease = time.Hour
	o := outbox.New(cfg)
	start(t, o)
	began := time.Now()
	for n := range 50 {
		commit(t, o, 1)
		eventually(t, "it is tried at once", func() bool { return b.called() > n })
	}
	if took := time.Since(began); took > time.Minute { // the pauses of a topic would be a minute and a half
		t.Errorf("50 events were tried within %v", took)
	}
	if n := left(t, pool, "payment.completed"); n != 50 {
		t.Errorf("%d events are left, want all 50", n)
	}
}

// Where several calls for a topic may be under way, one that hangs holds up no other.
func TestParallelCallsForATopic(t *testing.T) {
	pool, b := openPool(t), newBroker()
	var hung atomic.Bool
	b.is(func(ctx context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
		if hung.CompareAndSwap(false, true) {
			return hang(ctx, batch)
		}
		return nil, nil
	})
	cfg := config(pool, b)
	cfg.Lease, cfg.Parallel, cfg.PublishTimeout = time.Hour, 2, time.Hour
	o := outbox.New(cfg)
	start(t, o)
	commit(t, o, 1)
	eventually(t, "the first call hangs", hung.Load)
	for n := range 5 {
		commit(t, o, 1)
		eventually(t, "the next is published", func() bool { return b.distinct() == n+1 })
	}
}
