package outbox_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/outbox"
)

// Three replicas find what a fourth left behind, and share it.
func TestReplicasShareTheRecovery(t *testing.T) {
	const left = 5_000
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	dead := outbox.New(cfg)
	for range left / 100 {
		commit(t, dead, 100)
	}
	if _, err := pool.Exec(t.Context(), `update outbox set leased_until = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	cfg.Lease = time.Minute
	for range 3 {
		start(t, outbox.New(cfg))
	}
	eventually(t, "all are published", func() bool { return b.distinct() == left })
	eventually(t, "all rows are removed", empty(t, pool))
	if n := b.taken(); n != left {
		t.Errorf("%d publications of %d events: leases did not keep the replicas apart", n, left)
	}
}

// Processes come and go in the middle of their work, again and again; whatever
// was committed is published.
func TestKillLoopLosesNothing(t *testing.T) {
	const lives, perLife = 15, 40
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	cfg.Drain = time.Nanosecond // a kill, as far as a test can make one
	cfg.MaxQueued = 64
	var replicas sync.WaitGroup
	for range 2 {
		replicas.Go(func() {
			for range lives {
				live(t, outbox.New(cfg), perLife)
			}
		})
	}
	replicas.Wait()
	start(t, outbox.New(cfg))
	committed := count(t, pool, "ledger")
	if want := 2 * lives * perLife * 3; committed != want {
		t.Fatalf("%d changes, want %d", committed, want)
	}
	eventually(t, "all are published", func() bool { return b.distinct() == committed })
	eventually(t, "all rows are removed", empty(t, pool))
	t.Logf("%d events in %d publications", committed, b.taken())
}

// live commits so many transactions of three changes, and is killed half-way: the
// other half is committed and never seen by Run.
func live(t *testing.T, o *outbox.Outbox, transactions int) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.Run(ctx) }()
	for i := range transactions {
		if err := change(o, 3, nil); err != nil {
			t.Errorf("commit: %v", err)
		}
		if i == transactions/2 {
			kill()
		}
	}
	<-ended
}

func BenchmarkInsertAndPublish(b *testing.B) {
	pool, broker := openPool(b), newBroker()
	cfg := config(pool, broker)
	cfg.Lease = time.Minute
	o := outbox.New(cfg)
	stop := start(b, o)
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := o.InTx(context.Background(), func(_ context.Context, tx *outbox.Tx) error { return tx.Emit("", charged()) })
			if err != nil {
				b.Error(err)
			}
		}
	})
	stop()
	if got := broker.taken(); got != b.N {
		b.Errorf("%d published of %d", got, b.N)
	}
	s := o.Stats()
	b.ReportMetric(float64(s.Published)/float64(max(s.Calls, 1)), "events/call")
}

func BenchmarkInsertAndPublishBatchOf100(b *testing.B) {
	pool, broker := openPool(b), newBroker()
	cfg := config(pool, broker)
	cfg.Lease = time.Minute
	o := outbox.New(cfg)
	start(b, o)
	b.ReportAllocs()
	for b.Loop() {
		err := o.InTx(context.Background(), func(_ context.Context, tx *outbox.Tx) error {
			for range 100 {
				if err := tx.Emit("", charged()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
