package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// loop delivers what is published straight back, as one without other hops would.
type loop struct{ to *driver }

func (l *loop) Publish(ctx context.Context, topic string, batch []outbox.Message) ([]uuid.UUID, error) {
	back := make([]*inbox.Message, len(batch))
	for i, m := range batch {
		back[i] = &inbox.Message{Topic: topic, Payload: m.Payload}
	}
	return nil, l.to.Handle(ctx, back)
}

func TestDriverCountsEveryMessageOnce(t *testing.T) {
	publisher := &loop{}
	out := newForwarder(publisher, topic(1), slog.New(slog.DiscardHandler))
	d := newDriver(out)
	publisher.to = d
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error)
	go func() { ended <- out.run(ctx) }()

	for name, s := range map[string]spec{
		"closed": {Count: 500, WarmUp: 50, InFlight: 20, Bytes: 600},
		"open":   {Count: 2000, InFlight: 1, Rate: 2000, Bytes: 600},
	} {
		rep, err := d.drive(ctx, s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rep.PerSecond <= 0 || rep.MS.P50 > rep.MS.P99 || rep.MS.P99 > rep.MS.Max {
			t.Errorf("%s: implausible report %+v", name, rep)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEnvelopeHasItsSizeAndNumber(t *testing.T) {
	for _, i := range []int{0, 1, 70_000} {
		b := envelope(i, 600)
		if len(b) != 600 {
			t.Errorf("envelope %d has %d bytes", i, len(b))
		}
		if n, err := number(b); n != i || err != nil {
			t.Errorf("number of %d is %d, %v", i, n, err)
		}
	}
}
