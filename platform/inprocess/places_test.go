package inprocess_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/transport"
)

// remote stands for the sidecar of the process and the broker behind it.
type remote struct {
	take func(ctx context.Context, batch []outbox.Message) ([]uuid.UUID, error) // nil takes all

	mu    sync.Mutex
	taken []uuid.UUID
	calls []string
}

func (r *remote) Publish(ctx context.Context, _ string, batch []outbox.Message) ([]uuid.UUID, error) {
	if r.take != nil {
		if failed, err := r.take(ctx, batch); err != nil {
			return failed, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range batch {
		r.taken = append(r.taken, m.ID)
	}
	return nil, nil
}

func (r *remote) Calls(service string) grpc.ClientConnInterface { return remoteConn{r, service} }

type remoteConn struct {
	*remote
	service string
}

func (c remoteConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, c.service)
	return nil
}

func (remoteConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("not in this test")
}

func (r *remote) count() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.taken) }

// seen counts how often a subscriber has an event.
type seen struct {
	mu sync.Mutex
	n  map[string]int
}

func (s *seen) Handle(ctx context.Context, batch []*inbox.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == nil {
		s.n = make(map[string]int)
	}
	for _, m := range batch {
		s.n[string(m.Payload)]++
	}
	return done(ctx, batch)
}

func (s *seen) count() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.n) }

// movable is a bus of payment, which emits, and order and inventory, which hear.
func movable(r *remote, outside ...string) *inprocess.Bus {
	return inprocess.New(inprocess.Config{
		Hears: map[string][]string{topic: {"order", "inventory"}}, Emits: map[string][]string{topic: {"payment"}},
		Remote: r, Outside: outside,
	})
}

// An event is published once those inside have it and the broker has it, for those outside.
func TestPublishWantsBothTheInsideAndTheBroker(t *testing.T) {
	batch := messages(3)
	ids := func(which ...int) (ids []uuid.UUID) {
		for _, i := range which {
			ids = append(ids, batch[i].ID)
		}
		return ids
	}
	broken := errors.New("broker is full")
	for name, c := range map[string]struct {
		broker func(context.Context, []outbox.Message) ([]uuid.UUID, error)
		again  []int // what order asks for again
		open   []uuid.UUID
		fails  bool
	}{
		"both have all":                {},
		"the broker has none":          {broker: func(context.Context, []outbox.Message) ([]uuid.UUID, error) { return nil, broken }, fails: true},
		"the broker lacks one":         {broker: func(context.Context, []outbox.Message) ([]uuid.UUID, error) { return ids(1), broken }, open: ids(1), fails: true},
		"one inside asks for one":      {again: []int{2}, open: ids(2), fails: true},
		"each lacks another":           {broker: func(context.Context, []outbox.Message) ([]uuid.UUID, error) { return ids(0), broken }, again: []int{2}, open: ids(0, 2), fails: true},
		"the broker refuses the topic": {broker: func(context.Context, []outbox.Message) ([]uuid.UUID, error) { return nil, outbox.ErrTopicRefused }, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			bus := movable(&remote{take: c.broker}, "inventory")
			payment, order := join(t, bus, transport.Member{Name: "payment"}), join(t, bus, transport.Member{Name: "order"})
			defer run(t, order, func(ctx context.Context, batch []*inbox.Message) error {
				_ = done(ctx, batch)
				for _, i := range c.again {
					batch[i].Verdict = inbox.Again
				}
				return nil
			})()
			failed, err := payment.Publish(t.Context(), topic, batch)
			if !slices.Equal(failed, c.open) || c.fails != errors.Is(err, outbox.ErrNotNow) || !c.fails && err != nil {
				t.Errorf("open are %v, want %v: %v", failed, c.open, err)
			}
		})
	}
}

// While a service moves out and in and in between the broker has its events, each event
// that counts as published is with the service inside or with the broker.
func TestEventsOfAMovingServiceGoOneWayOrTheOther(t *testing.T) {
	r := new(remote)
	bus := movable(r)
	payment, order, inventory := join(t, bus, transport.Member{Name: "payment"}), join(t, bus, transport.Member{Name: "order"}), join(t, bus, transport.Member{Name: "inventory"})
	var stays, moves seen
	defer run(t, order, stays.Handle)()
	stop := run(t, inventory, moves.Handle)
	var published atomic.Int64
	quit := make(chan struct{})
	var publishers sync.WaitGroup
	for p := range 4 {
		publishers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				one := messages(1)
				one[0].Payload = fmt.Appendf(nil, "%d-%d", p, i)
				// With an error it comes again, as from an outbox.
				for {
					if _, err := payment.Publish(t.Context(), topic, one); err == nil {
						break
					}
					t.Error("an event had to come again")
				}
				published.Add(1)
			}
		})
	}
	more := func() {
		before := published.Load()
		servicetest.Await(t, "publishers go on", func() bool { return published.Load() >= before+20 })
	}
	for range 20 {
		for _, place := range []inprocess.Place{inprocess.Both, inprocess.Outside} {
			if err := bus.Move(t.Context(), "inventory", place); err != nil {
				t.Fatal(err)
			}
		}
		// Nothing is on its way to it: it may stop.
		stop()
		inventory.Close()
		had := moves.count()
		more()
		if now := moves.count(); now != had {
			t.Fatalf("%d events came to it inside after it was moved out", now-had)
		}
		inventory = join(t, bus, transport.Member{Name: "inventory"})
		stop = run(t, inventory, moves.Handle)
		for _, place := range []inprocess.Place{inprocess.Both, inprocess.Inside} {
			if err := bus.Move(t.Context(), "inventory", place); err != nil {
				t.Fatal(err)
			}
		}
		atBroker := r.count()
		more()
		if now := r.count(); now != atBroker {
			t.Fatalf("%d events went to the broker after it was moved in", now-atBroker)
		}
	}
	close(quit)
	publishers.Wait()
	stop()
	n := int(published.Load())
	if stays.count() != n || moves.count()+r.count() != n {
		t.Errorf("of %d events %d reached the one that stays, %d and %d the one that moves", n, stays.count(), moves.count(), r.count())
	}
}

// Events from the broker go to those inside, and are neither published again nor given to
// those outside. They are done when all inside have done with them. What a service inside
// emitted has been handed out already.
func TestEventsFromOutsideDoNotGoInCircles(t *testing.T) {
	for name, c := range map[string]struct {
		outside []string
		again   int // times that order asks for it again
		order   int
	}{
		"from a service inside":            {[]string{"inventory"}, 0, 0},
		"from a service outside":           {[]string{"payment"}, 0, 1},
		"with a hearer outside":            {[]string{"payment", "inventory"}, 0, 1},
		"order asks for it again":          {[]string{"payment"}, 2, 3},
		"all outside, and nobody inside":   {[]string{"payment", "inventory", "order"}, 0, 0},
		"a hearer inside that has stopped": {[]string{"payment"}, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := new(remote)
			bus := movable(r, c.outside...)
			times, others := 0, new(seen)
			for _, name := range []string{"order", "inventory"} {
				if slices.Contains(c.outside, name) {
					continue
				}
				h := handler(others.Handle)
				if name == "order" {
					h = func(ctx context.Context, batch []*inbox.Message) error {
						times++
						_ = done(ctx, batch)
						if times <= c.again {
							batch[0].Verdict = inbox.Again
						}
						return nil
					}
				}
				stop := run(t, join(t, bus, transport.Member{Name: name}), h)
				if c.again < 0 && name == "order" {
					stop()
				} else {
					defer stop()
				}
			}
			in := bus.FromOutside(slog.New(slog.DiscardHandler))
			message := &inbox.Message{Topic: topic, Payload: []byte("{}"), Verdict: inbox.Again}
			for try := 0; ; try++ {
				if err := in.Handle(t.Context(), []*inbox.Message{message}); err != nil {
					t.Fatal(err)
				}
				if want := try < c.again || c.again < 0; want != (message.Verdict == inbox.Again) {
					t.Fatalf("try %d: again is %v, want %v", try, !want, want)
				}
				if message.Verdict == inbox.Done || c.again < 0 {
					break
				}
			}
			if times != c.order {
				t.Errorf("order had it %d times, want %d", times, c.order)
			}
			if n := r.count(); n > 0 {
				t.Errorf("%d events were published again", n)
			}
		})
	}
}

// What the broker gives up on is parked by those inside that hear it, and by nobody else.
func TestWhatTheBrokerGivesUpOnIsParkedInside(t *testing.T) {
	const heard = "payment.failed"
	bus := inprocess.New(inprocess.Config{
		Hears:  map[string][]string{heard: {"order", "inventory"}, "order.confirmed": {"checkout"}},
		Remote: new(remote), Outside: []string{"payment", "inventory"},
	})
	parked := make(map[string]int)
	for _, name := range []string{"order", "checkout"} {
		joined := join(t, bus, transport.Member{Name: name})
		if err := joined.Listen(t.Context(), transport.Service{Handler: deadly{done, func(batch []*inbox.Message) { parked[name] += len(batch) }}}); err != nil {
			t.Fatal(err)
		}
	}
	in := bus.FromOutside(slog.New(slog.DiscardHandler))
	in.HandleDead(t.Context(), []*inbox.Message{
		{Topic: "quadrille.deadletter", Payload: fmt.Appendf(nil, `{"id":%q,"type":%q}`, uuid.NewString(), heard)},
	})
	if parked["order"] != 1 || len(parked) != 1 {
		t.Errorf("parked are %v, want one by order", parked)
	}
	// Of what nobody can read it is not known who hears it; it is not lost.
	in.HandleDead(t.Context(), []*inbox.Message{{Topic: "quadrille.deadletter", Payload: []byte("rubbish")}})
	if parked["order"] != 2 || parked["checkout"] != 1 {
		t.Errorf("parked are %v, want what is unreadable by both", parked)
	}
}

// deadly is a handler that keeps what the transport gives up on.
type deadly struct {
	handler
	dead func(batch []*inbox.Message)
}

func (d deadly) HandleDead(_ context.Context, batch []*inbox.Message) { d.dead(batch) }

// A call goes where the callee is. One under way ends before its callee may stop.
func TestCallsFollowTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const method = "/quadrille.inventory.v1.Allocations/Allocate"
		r := new(remote)
		bus := movable(r)
		b2b, inventory := join(t, bus, transport.Member{Name: "b2b", Calls: []string{method}}), join(t, bus, transport.Member{Name: "inventory"})
		entered, release := make(chan struct{}), make(chan struct{})
		served := 0
		err := inventory.Listen(t.Context(), transport.Service{Handler: handler(done), Register: func(s grpc.ServiceRegistrar) {
			s.RegisterService(&grpc.ServiceDesc{ServiceName: "quadrille.inventory.v1.Allocations", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
				MethodName: "Allocate",
				Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
					served++
					close(entered)
					<-release
					return new(emptypb.Empty), nil
				},
			}}}, nil)
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended, answered := make(chan error, 1), make(chan error, 1)
		go func() { ended <- inventory.Deliver(ctx) }()
		call := func() error {
			return b2b.Calls("inventory").Invoke(t.Context(), method, new(emptypb.Empty), new(emptypb.Empty))
		}
		go func() { answered <- call() }()
		<-entered
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := bus.Move(short, "inventory", inprocess.Outside); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Move did not wait for the call: %v", err)
		}
		if err := call(); err != nil || served != 1 || !slices.Equal(r.calls, []string{"inventory"}) {
			t.Errorf("a call after the move went to %v, %d inside: %v", r.calls, served, err)
		}
		stop()
		close(release)
		if err := errors.Join(<-answered, <-ended); err != nil {
			t.Errorf("the call that was under way: %v", err)
		}
		if err := b2b.Calls("inventory").Invoke(t.Context(), method+"Other", new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a call that b2b does not declare: %v", err)
		}
		b2b.Close()
		inventory.Close()
	})
}
