// Package inprocess joins the services of one process, without Dapr and without a broker.
// Some of them may be outside, behind a sidecar, and move in and out while all run.
//
// The outbox table is the log: an event counts as published once every service that hears
// it has committed its effect, or parked it. Whatever ends in between leaves it in the
// publisher's table, which recovers it, and inboxes pass over what they have had.
package inprocess

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/transport"
)

const (
	// parallel calls for a topic: each lasts until its slowest subscriber has committed.
	parallel = 4

	// maxInFlight bounds the payloads that a subscriber has been handed and not answered,
	// and minDelivery the number of deliveries: each counts for as much at least. They
	// outlive the call that gave up waiting for them.
	maxInFlight = 32 << 20
	minDelivery = 512 << 10
)

// Config of a Bus.
type Config struct {
	// Hears names the services that hear a topic. Those that have not joined are waited
	// for: the topic's events stay in the outbox.
	Hears map[string][]string
	// Remote is nil where no service is ever outside.
	Remote Remote
	// Emits names the services that emit a topic, and Outside those that do not run in the
	// process and are reached by Remote. Both are for Remote only.
	Emits   map[string][]string
	Outside []string
}

// Bus is the network of a process.
type Bus struct {
	cfg Config

	mu      sync.RWMutex
	members map[string]*member
	routes  *routes
}

// New returns a Bus without members.
func New(cfg Config) *Bus {
	places := make(map[string]Place)
	for _, name := range cfg.Outside {
		places[name] = Outside
	}
	return &Bus{cfg: cfg, members: make(map[string]*member), routes: &routes{places: places}}
}

// Join implements transport.Network.
func (b *Bus) Join(m transport.Member) (transport.Transport, error) {
	joined := &member{
		Member: m, bus: b, room: semaphore.NewWeighted(maxInFlight),
		started: make(chan struct{}),
	}
	if m.Workflows != nil {
		var err error
		if joined.engine, err = m.Workflows(m); err != nil {
			return nil, fmt.Errorf("make the workflow engine of %s: %w", m.Name, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.members[m.Name] != nil {
		return nil, fmt.Errorf("a service %s has joined already", m.Name)
	}
	b.members[m.Name] = joined
	return joined, nil
}

// find returns a service of the process, or nil.
func (b *Bus) find(name string) *member {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.members[name]
}

func (b *Bus) leave(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.members[m.Name] == m {
		delete(b.members, m.Name)
	}
}

// member is the transport of one service.
type member struct {
	transport.Member
	bus    *Bus
	engine transport.Engine // nil where the service runs no workflows

	handler transport.Handler
	calls   *callServer        // nil where others have nothing to call
	http    *httpcall.Listener // nil where it takes no HTTP requests

	room    *semaphore.Weighted // has maxInFlight
	started chan struct{}

	mu       sync.Mutex
	stopped  bool
	underway sync.WaitGroup // counts up only while not stopped
}

// System implements transport.Transport.
func (m *member) System() string { return "quadrille" }

// Parallel implements transport.Transport.
func (m *member) Parallel() int { return parallel }

// Heard implements transport.Transport. There is no broker that outside systems could
// subscribe to.
func (m *member) Heard(topic string) bool { return len(m.bus.cfg.Hears[topic]) > 0 }

// Listen implements transport.Transport.
func (m *member) Listen(_ context.Context, s transport.Service) error {
	m.handler, m.http = s.Handler, s.HTTP
	if s.Register == nil {
		return nil
	}
	var err error
	m.calls, err = newCallServer(m.Name, s.Register, m.Log) //nolint:contextcheck // each call has its own
	return err
}

// Deliver implements transport.Transport.
func (m *member) Deliver(ctx context.Context) error {
	serving := make(chan error, 1)
	if m.calls != nil {
		go func() { serving <- m.calls.serve() }()
	}
	close(m.started)
	select {
	case <-ctx.Done():
	case err := <-serving:
		m.stop()
		return fmt.Errorf("serve calls: %w", err)
	}
	m.stop()
	if m.calls != nil {
		m.calls.server.StopWithin(transport.StopTimeout)
	}
	return nil
}

// stop takes no more events, and waits a while for those under way.
func (m *member) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); m.underway.Wait() }()
	select {
	case <-done:
	case <-time.After(transport.StopTimeout):
		m.Log.Warn("events under way at the end come again after the next start", "after", transport.StopTimeout)
	}
}

// Ready implements transport.Transport.
func (m *member) Ready(context.Context) error {
	select {
	case <-m.started:
	default:
		return fmt.Errorf("%s takes no events yet", m.Name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return fmt.Errorf("%s takes no more events", m.Name)
	}
	return nil
}

// RunWorkflows implements transport.Transport.
func (m *member) RunWorkflows(ctx context.Context) error { return m.engine.Run(ctx) }

// Close implements transport.Transport.
func (m *member) Close() {
	m.bus.leave(m)
	if m.calls != nil {
		m.calls.close()
	}
}
