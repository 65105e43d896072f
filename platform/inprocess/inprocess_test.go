package inprocess_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/transport"
)

const topic = "payment.failed"

// handler is what a subscriber does with a batch.
type handler func(ctx context.Context, batch []*inbox.Message) error

func (h handler) Handle(ctx context.Context, batch []*inbox.Message) error { return h(ctx, batch) }

func (handler) HandleDead(context.Context, []*inbox.Message) {}

func done(_ context.Context, batch []*inbox.Message) error {
	for _, m := range batch {
		m.Verdict = inbox.Done
	}
	return nil
}

func join(t *testing.T, bus *inprocess.Bus, m transport.Member) transport.Transport {
	t.Helper()
	m.Log = slog.New(slog.DiscardHandler)
	joined, err := bus.Join(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(joined.Close)
	return joined
}

// run has a subscriber take events until stop is called, which waits for its end.
func run(t *testing.T, joined transport.Transport, h handler) (stop func()) {
	t.Helper()
	if err := joined.Listen(t.Context(), transport.Service{Handler: h}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- joined.Deliver(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Deliver = %v", err)
		}
	})
}

func messages(n int) []outbox.Message {
	batch := make([]outbox.Message, n)
	for i := range batch {
		batch[i] = outbox.Message{ID: uuid.New(), Topic: topic, Payload: []byte("{}")}
	}
	return batch
}

// Of a batch, only what a subscriber has not done with is reported.
func TestPublishReportsWhatIsOpen(t *testing.T) {
	bus := inprocess.New(inprocess.Config{Hears: map[string][]string{topic: {"order", "inventory"}}})
	payment, order, inventory := join(t, bus, transport.Member{Name: "payment"}), join(t, bus, transport.Member{Name: "order"}), join(t, bus, transport.Member{Name: "inventory"})
	defer run(t, order, func(ctx context.Context, batch []*inbox.Message) error {
		_ = done(ctx, batch)
		batch[1].Verdict = inbox.Again
		return nil
	})()
	stop := run(t, inventory, func(ctx context.Context, batch []*inbox.Message) error {
		_ = done(ctx, batch)
		batch[2].Verdict = inbox.Again
		return nil
	})
	batch := messages(4)
	failed, err := payment.Publish(t.Context(), topic, batch)
	if len(failed) != 2 || failed[0] != batch[1].ID || failed[1] != batch[2].ID || !errors.Is(err, outbox.ErrNotNow) {
		t.Errorf("open are %v, %v", failed, err)
	}
	stop()
	if failed, err := payment.Publish(t.Context(), topic, batch); failed != nil || !errors.Is(err, outbox.ErrNotNow) {
		t.Errorf("with a subscriber that has stopped: %v, %v", failed, err)
	}
	if failed, err := payment.Publish(t.Context(), "payment.unheard", batch); failed != nil || err != nil {
		t.Errorf("a topic that nobody hears: %v, %v", failed, err)
	}
}

// A subscriber that answers nothing is handed so much and no more, and it stops when it
// has answered what it was handed.
func TestWhatIsUnderWayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := inprocess.New(inprocess.Config{Hears: map[string][]string{topic: {"order"}}})
		payment, order := join(t, bus, transport.Member{Name: "payment"}), join(t, bus, transport.Member{Name: "order"})
		var handed atomic.Int64
		release := make(chan struct{})
		stop := run(t, order, func(ctx context.Context, batch []*inbox.Message) error {
			handed.Add(1)
			<-release
			return done(ctx, batch)
		})
		var calls sync.WaitGroup
		for range 200 {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second) // of the bubble
				defer cancel()
				if _, err := payment.Publish(ctx, topic, messages(1)); !errors.Is(err, outbox.ErrNotNow) {
					t.Errorf("without an answer Publish = %v", err)
				}
			})
		}
		calls.Wait()
		if n := handed.Load(); n != 64 {
			t.Errorf("%d deliveries are under way, want 64", n)
		}
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("it stopped while events were under way")
		default:
		}
		close(release)
		<-stopped
	})
}

// A start order that has outboxes before event intakes loses no time.
func TestPublishWaitsForASubscriberThatStarts(t *testing.T) {
	bus := inprocess.New(inprocess.Config{Hears: map[string][]string{topic: {"order"}}})
	payment, order := join(t, bus, transport.Member{Name: "payment"}), join(t, bus, transport.Member{Name: "order"})
	if err := order.Ready(t.Context()); err == nil {
		t.Error("ready before it delivers")
	}
	published := make(chan error, 1)
	go func() {
		_, err := payment.Publish(t.Context(), topic, messages(1))
		published <- err
	}()
	stop := run(t, order, done)
	if err := <-published; err != nil {
		t.Errorf("Publish = %v", err)
	}
	if err := order.Ready(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	stop()
	if err := order.Ready(t.Context()); err == nil {
		t.Error("ready after its end")
	}
}

// Calls to what the process does not have say so.
func TestCallsThatLeadNowhere(t *testing.T) {
	const method = "/quadrille.inventory.v1.Allocations/Allocate"
	bus := inprocess.New(inprocess.Config{})
	b2b := join(t, bus, transport.Member{Name: "b2b", Calls: []string{method}})
	join(t, bus, transport.Member{Name: "order"})
	for to, want := range map[string]codes.Code{"inventory": codes.Unavailable, "order": codes.Unimplemented} {
		err := b2b.Calls(to).Invoke(t.Context(), method, new(emptypb.Empty), new(emptypb.Empty))
		if status.Code(err) != want {
			t.Errorf("a call to %s: %v, want %v", to, err, want)
		}
	}
	if err := b2b.Workflows().Invoke(t.Context(), method, new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Unavailable {
		t.Errorf("a call to a workflow engine that is not there: %v", err)
	}
	if _, err := bus.Join(transport.Member{Name: "b2b"}); err == nil {
		t.Error("a service joins twice")
	}
}
