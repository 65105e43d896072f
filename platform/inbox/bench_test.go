package inbox_test

import (
	"context"
	"log/slog"
	"testing"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
)

// A batch of 100 events, each with an effect and an event that it causes.
func BenchmarkHandle100(b *testing.B) { benchmarkHandle(b, 100) }

// One event alone, as a quiet system has it.
func BenchmarkHandle1(b *testing.B) { benchmarkHandle(b, 1) }

func benchmarkHandle(b *testing.B, size int) {
	pool := pgtest.Open(b, effects)
	log := slog.New(slog.DiscardHandler)
	o := outbox.New(outbox.Config{Source: consumer, Pool: pool, Publisher: new(broker), Log: log})
	run(b, o)
	in := inbox.New(inbox.Config{
		Consumer: consumer, Pool: pool, Outbox: o, Log: log,
		Handler: func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			for _, d := range batch {
				if err := confirm(tx, d); err != nil {
					return err
				}
			}
			return note(ctx, tx, batch)
		},
	})
	run(b, in)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		payloads := make([][]byte, size)
		for i := range payloads {
			_, payloads[i] = event(b)
		}
		batch := messages(payloads...)
		b.StartTimer()
		if err := in.Handle(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
