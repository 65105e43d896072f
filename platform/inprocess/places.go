package inprocess

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// Place says where a service is, as far as the services of the process are concerned.
type Place string

// The places. A service goes from one to the next: inside, both, outside, and back.
const (
	// Inside: it runs in the process.
	Inside Place = "inside"
	// Both: it runs in the process, which events and calls go to, and a replica of it may
	// run outside, whose events are heard.
	Both Place = "both"
	// Outside: events and calls go to it by Remote.
	Outside Place = "outside"
)

// Remote is the way to services outside of the process, and to the broker: a sidecar.
type Remote interface {
	outbox.Publisher
	Calls(service string) grpc.ClientConnInterface
}

// routes say where the services are. They do not change: Move replaces them.
type routes struct {
	places map[string]Place // without those that are Inside
	users  sync.WaitGroup   // of what goes by these routes
}

func (r *routes) outside(service string) bool { return r.places[service] == Outside }

// hold returns the routes of now. The caller owes a users.Done.
func (b *Bus) hold() *routes {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.routes.users.Add(1) // before they are replaced, so that nobody waits for users yet
	return b.routes
}

// Place returns where a service is.
func (b *Bus) Place(service string) Place {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if place, ok := b.routes.places[service]; ok {
		return place
	}
	return Inside
}

// Move changes where a service is. It returns when all that was sent by the former routes
// is answered, and with an error when ctx ends before that: the new ones hold all the same.
func (b *Bus) Move(ctx context.Context, service string, to Place) error {
	b.mu.Lock()
	former := b.routes
	places := maps.Clone(former.places)
	places[service] = to
	if to == Inside {
		delete(places, service)
	}
	b.routes = &routes{places: places}
	b.mu.Unlock()
	answered := make(chan struct{})
	go func() { defer close(answered); former.users.Wait() }()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the answers to what was sent before %s was moved: %w", service, ctx.Err())
	}
}

// hearers are the services that hear a topic, by whether they are reached in the process.
func (b *Bus) hearers(r *routes, topic string) (inside []string, outside bool) {
	for _, name := range b.cfg.Hears[topic] {
		if r.outside(name) {
			outside = true
		} else {
			inside = append(inside, name)
		}
	}
	return inside, outside
}

// anyHearers are the services inside that hear any topic.
func (b *Bus) anyHearers(r *routes) (inside []string) {
	for topic := range b.cfg.Hears {
		names, _ := b.hearers(r, topic)
		for _, name := range names {
			if !slices.Contains(inside, name) {
				inside = append(inside, name)
			}
		}
	}
	return inside
}

// publishOutside marks what the broker has not taken, and says why.
func (b *Bus) publishOutside(ctx context.Context, topic string, batch []outbox.Message, open []bool) error {
	failed, err := b.cfg.Remote.Publish(ctx, topic, batch)
	if err == nil {
		return nil
	}
	for i, m := range batch {
		if len(failed) == 0 || slices.Contains(failed, m.ID) {
			open[i] = true
		}
	}
	return fmt.Errorf("the broker, for services outside: %w", err)
}

// FromOutside handles what the broker delivers to the process: events of services outside,
// for those inside. They are done when all of these have committed or parked them, and
// they are never published again.
func (b *Bus) FromOutside(log *slog.Logger) *Inbound { return &Inbound{b, log} }

// Inbound is a transport.Handler.
type Inbound struct {
	bus *Bus
	log *slog.Logger
}

// Handle implements transport.Handler for events of one topic.
func (in *Inbound) Handle(ctx context.Context, batch []*inbox.Message) error {
	topic := batch[0].Topic
	r := in.bus.hold()
	defer r.users.Done()
	open := make([]bool, len(batch))
	var err error
	// What only services inside emit went to those inside without the broker.
	if slices.ContainsFunc(in.bus.cfg.Emits[topic], func(name string) bool { return r.places[name] != "" }) {
		inside, _ := in.bus.hearers(r, topic)
		payloads := make([][]byte, len(batch))
		for i, m := range batch {
			payloads[i] = m.Payload
		}
		err = in.bus.deliver(ctx, inside, topic, payloads, open)
	}
	for i, m := range batch {
		m.Verdict = inbox.Done
		if open[i] {
			m.Verdict = inbox.Again
		}
	}
	if err != nil {
		in.log.DebugContext(ctx, "events of services outside are delivered again", "topic", topic, "err", err)
	}
	return nil
}

// HandleDead has services inside park what the broker gives up on: those that hear it, and
// all where it cannot be read.
func (in *Inbound) HandleDead(ctx context.Context, batch []*inbox.Message) {
	r := in.bus.hold()
	defer r.users.Done()
	for _, m := range batch {
		envelope, _, _ := events.Decode(m.Payload) // parking tells what is wrong with it
		inside, _ := in.bus.hearers(r, envelope.Type)
		if in.bus.cfg.Hears[envelope.Type] == nil {
			inside = in.bus.anyHearers(r) // nobody knows whose it is
		}
		in.log.ErrorContext(ctx, "the sidecar gave up delivering an event; services inside that hear it park it",
			"event_id", envelope.ID, "topic", envelope.Type, "services", inside)
		for _, name := range inside {
			if s := in.bus.find(name); s != nil {
				s.handler.HandleDead(ctx, []*inbox.Message{{Topic: m.Topic, Payload: m.Payload}})
			}
		}
	}
}

// openIDs are the ids of what is open.
func openIDs(batch []outbox.Message, open []bool) (ids []uuid.UUID) {
	for i, message := range batch {
		if open[i] {
			ids = append(ids, message.ID)
		}
	}
	return ids
}
