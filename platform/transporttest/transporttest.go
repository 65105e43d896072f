// Package transporttest is what every transport must hold, whatever carries the events:
// package inprocess runs it, and local/e2e/transport over Dapr on Redis and on Kafka.
//
// The services of the suite have the names and topics of real ones, so that brokers whose
// topics and rights are fixed can run it: payment emits, order and inventory hear, b2b
// calls inventory, gateway makes HTTP requests to order. What they do with events is the suite's.
package transporttest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/transport"
)

// Hears are the services of the suite that hear a topic.
var Hears = map[string][]string{payment.TypeFailed: {"inventory", "order"}}

// Harness is a transport under test.
type Harness struct {
	// Network returns the network of a new process. What earlier processes left must be
	// found there: a test restarts by it.
	Network func(t *testing.T) transport.Network
	// Settings returns those of a service's transport, or is nil where there are none.
	Settings func(service string) map[string]string
	// Ready waits until events reach the services that run, or is nil where
	// Transport.Ready says all.
	Ready func(t *testing.T, services []string)
	// Lease is how long an event that was not taken stays in the outbox before it is tried
	// again. 0 is the outbox's own.
	Lease time.Duration
	// Again is within what time an event comes again, for whatever reason.
	Again time.Duration
	// InTurn says that a subscriber gets the next events of a topic after it has answered
	// for those before, so that one may hold up those behind it.
	InTurn bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"every subscriber gets every event", everySubscriberGetsEveryEvent},
		{"what is not handled comes again", whatIsNotHandledComesAgain},
		{"what a process leaves unanswered comes again", whatAProcessLeavesUnansweredComesAgain},
		{"what one subscriber missed waits for it", whatOneSubscriberMissedWaitsForIt},
		{"a slow event holds up no others", aSlowEventHoldsUpNoOthers},
		{"a topic without subscribers", aTopicWithoutSubscribers},
		{"calls", calls},
		{"HTTP requests", requests},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
	}
}

// subscriber does with events what a test wants.
type subscriber struct {
	world *world
	mu    sync.Mutex
	seen  map[uuid.UUID][]string // payloads by event
	// answer is called for each event, outside the lock; it may block and panic.
	answer func(id uuid.UUID, times int) inbox.Verdict
}

func (w *world) subscriber(answer func(uuid.UUID, int) inbox.Verdict) *subscriber {
	if answer == nil {
		answer = func(uuid.UUID, int) inbox.Verdict { return inbox.Done }
	}
	return &subscriber{world: w, seen: make(map[uuid.UUID][]string), answer: answer}
}

// Handle implements transport.Handler.
func (s *subscriber) Handle(_ context.Context, batch []*inbox.Message) error {
	for _, m := range batch {
		env, _, err := events.Decode(m.Payload)
		if err != nil {
			return err
		}
		if !s.world.has(env.Subject) {
			m.Verdict = inbox.Done // an earlier test's: a broker keeps what nobody took
			continue
		}
		s.mu.Lock()
		s.seen[env.ID] = append(s.seen[env.ID], string(m.Payload))
		times := len(s.seen[env.ID])
		s.mu.Unlock()
		m.Verdict = s.answer(env.ID, times)
	}
	return nil
}

// HandleDead implements transport.Handler: nothing is to come this way.
func (s *subscriber) HandleDead(ctx context.Context, batch []*inbox.Message) {
	_ = s.Handle(ctx, batch) // it would be found missing at its own topic
}

func (s *subscriber) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// world is what outlives a process: the database of the one that emits.
type world struct {
	t    *testing.T
	h    Harness
	pool map[string]*pgxpool.Pool
	// publishTimeout is that of all outboxes; 0 is their own.
	publishTimeout time.Duration

	mu       sync.Mutex
	subjects map[string]bool // of the events that were published
}

func newWorld(t *testing.T, h Harness) *world {
	return &world{t: t, h: h, pool: make(map[string]*pgxpool.Pool), subjects: make(map[string]bool)}
}

func (w *world) has(subject string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.subjects[subject]
}

func (w *world) add(list []events.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range list {
		w.subjects[e.Subject()] = true
	}
}

// process runs services until it is stopped or killed.
type process struct {
	*world
	network transport.Network
	cancel  []context.CancelFunc // in the order of a stop
	outbox  map[string]*outbox.Outbox
	joined  map[string]transport.Transport
	ended   sync.WaitGroup
	closed  func()
}

// start starts a process with these services; payment and b2b emit.
func (w *world) start(services map[string]*subscriber) *process {
	w.t.Helper()
	p := &process{world: w, network: w.h.Network(w.t), outbox: make(map[string]*outbox.Outbox), joined: make(map[string]transport.Transport)}
	var names []string
	for name, s := range services {
		names = append(names, name)
		p.join(name, s)
	}
	p.closed = sync.OnceFunc(func() {
		p.ended.Wait()
		for _, joined := range p.joined {
			joined.Close()
		}
	})
	w.t.Cleanup(p.stop)
	for _, joined := range p.joined {
		w.await(w.h.again(), "the transport is ready", func() bool { return joined.Ready(w.t.Context()) == nil })
	}
	if w.h.Ready != nil {
		w.h.Ready(w.t, names)
	}
	return p
}

// again is how long a test waits for that, on a machine that is busy.
func (h Harness) again() time.Duration { return h.Again + time.Minute }

func (p *process) join(name string, s *subscriber) {
	p.t.Helper()
	settings := map[string]string{}
	if p.h.Settings != nil {
		settings = p.h.Settings(name)
	}
	reader := config.NewReader(func(name string) (string, bool) { v, ok := settings[name]; return v, ok })
	log := slog.New(slog.DiscardHandler)
	m := transport.Member{Name: name, Config: reader, Log: log}
	service := transport.Service{Handler: s}
	switch name {
	case "inventory":
		m.Topics = []string{payment.TypeFailed}
		service.Register = func(r grpc.ServiceRegistrar) { r.RegisterService(&allocations, nil) }
	case "order":
		m.Topics = []string{payment.TypeFailed}
		service.HTTP = p.listen()
	case "gateway":
		m.Calls = []string{httpcall.Method}
	case "b2b":
		m.Calls = []string{methodAllocate}
	}
	joined, err := p.network.Join(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := reader.Err(); err != nil {
		p.t.Fatal(err)
	}
	p.joined[name] = joined
	// A port may still be that of a process which was killed.
	p.await(p.h.again(), "the transport listens", func() bool { return joined.Listen(p.t.Context(), service) == nil })
	if name == "payment" || name == "b2b" {
		p.emit(name, joined, log)
	}
	p.run(joined.Deliver)
}

// emit gives a service an outbox, on the database that it had in earlier processes.
func (p *process) emit(name string, joined transport.Transport, log *slog.Logger) {
	if p.pool[name] == nil {
		p.pool[name] = pgtest.Open(p.t, pgtest.None)
	}
	p.outbox[name] = outbox.New(outbox.Config{
		Source: name, Emits: []string{payment.TypeFailed, b2b.TypeOrderRejected}, Pool: p.pool[name], Publisher: joined, Log: log,
		Lease: p.h.Lease, PublishTimeout: p.publishTimeout, Parallel: joined.Parallel(), Drain: time.Millisecond,
	})
	p.run(p.outbox[name].Run)
}

func (p *process) run(work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = append(p.cancel, cancel)
	p.ended.Go(func() {
		if err := work(ctx); err != nil {
			p.t.Errorf("the process ends with %v", err)
		}
	})
}

// kill ends a process without waiting for what is under way in it.
func (p *process) kill() {
	for _, cancel := range p.cancel {
		cancel()
	}
}

// stop ends a process.
func (p *process) stop() {
	p.kill()
	p.closed()
}

// publish commits events in one transaction.
func (p *process) publish(name string, list ...events.Event) {
	p.t.Helper()
	p.add(list)
	err := p.outbox[name].InTx(p.t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		for _, e := range list {
			if err := tx.Emit("", e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// failures returns events that order and inventory hear.
func failures(n int) (list []events.Event) {
	for range n {
		list = append(list, payment.Failed{
			OfOrder: events.OfOrder{OrderID: uuid.Must(uuid.NewV7())}, Reason: events.Reason{Code: "card_declined", Message: "Declined."},
		})
	}
	return list
}

// emptied waits until nothing is left in an outbox.
func (w *world) emptied(name string) {
	w.t.Helper()
	w.await(w.h.again(), "the outbox is empty", func() bool {
		var n int
		err := w.pool[name].QueryRow(w.t.Context(), `select count(*) from outbox`).Scan(&n)
		return err == nil && n == 0
	})
}

func (w *world) await(most time.Duration, what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("not within %v: %s", most, what)
		}
	}
}
