package outbox_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/outbox"
)

// Many write, in short transactions and long ones; processes die and begin in the
// middle of it, and the broker refuses now this, now that. In the end all that was
// committed is published, and nothing else.
func TestWhateverHappensAllIsPublished(t *testing.T) {
	const writers, transactions, processes = 8, 40, 3
	pool, b := openPool(t), newBroker()
	b.is(func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
		switch rand.N(8) {
		case 0:
			return nil, errRefused
		case 1:
			return nil, errAway
		case 2:
			return []uuid.UUID{batch[rand.N(len(batch))].ID}, errRefused
		default:
			return nil, nil
		}
	})
	cfg := config(pool, b)
	cfg.Lease, cfg.MaxQueued, cfg.MaxQueuedBytes, cfg.Drain = 100*time.Millisecond, 50, 10_000, time.Nanosecond
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	current := make(chan *outbox.Outbox, processes)
	for range processes {
		all.Go(func() {
			for ctx.Err() == nil {
				o := outbox.New(cfg)
				life, kill := context.WithTimeout(ctx, 20*time.Millisecond+rand.N(200*time.Millisecond))
				select {
				case current <- o:
				default:
				}
				_ = o.Run(life)
				kill()
			}
		})
	}
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			o := <-current
			for i := range transactions {
				select {
				case o = <-current:
				default:
				}
				write(t, o, i)
			}
		})
	}
	go func() { writing.Wait(); stop() }()
	all.Wait()
	writing.Wait()
	b.is(nil)
	start(t, outbox.New(cfg))
	committed := count(t, pool, "ledger")
	eventually(t, "all are published", func() bool { return b.distinct() == committed })
	eventually(t, "all rows are removed", empty(t, pool))
	t.Logf("%d events in %d publications", committed, b.taken())
}

// write commits some changes, or none, with a pause between the first and the rest.
func write(t *testing.T, o *outbox.Outbox, i int) {
	var result error
	if i%7 == 0 {
		result = errAway // as good as any other: it is rolled back
	}
	err := o.InTx(context.Background(), func(ctx context.Context, tx *outbox.Tx) error {
		for n := range 1 + i%5 {
			e := charged()
			if _, err := tx.Exec(ctx, `insert into ledger (order_id) values ($1)`, events.OrderOf(e)); err != nil {
				return err
			}
			if n == 0 && i%3 == 0 {
				if _, err := tx.Exec(ctx, `select pg_sleep($1)`, rand.Float64()/20); err != nil {
					return err
				}
			}
			if err := tx.Emit("", e); err != nil {
				return err
			}
		}
		return result
	})
	if (err == nil) != (result == nil) {
		t.Errorf("commit: %v", err)
	}
}
