package inbox_test

import (
	"context"
	"sync/atomic"
	"testing"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/servicetest"
)

// While the next version of the kit adds its columns, events are handled, published,
// parked and replayed as before.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	var fails atomic.Bool
	w := newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		if fails.Load() {
			return errPoison
		}
		if err := confirm(tx, batch[0]); err != nil {
			return err
		}
		return note(ctx, tx, batch)
	})
	published := 0
	servicetest.CheckUpgrade(t, w.pool, func() {
		_, good := event(t)
		w.deliver(inbox.Done, good)
		w.deliver(inbox.Done, good) // a duplicate
		fails.Store(true)
		id, bad := event(t)
		w.deliver(inbox.Done, bad)
		fails.Store(false)
		if p := w.parked(); p.EventID != id {
			t.Errorf("parked %+v", p)
		}
		if err := w.inbox.Replay(t.Context(), id); err != nil {
			t.Error(err)
		}
		published += 2
		w.published(published)
	})
	if n := w.count("effect"); n != published {
		t.Errorf("%d effects, want %d", n, published)
	}
}
