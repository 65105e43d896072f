package inprocess

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// Publish hands a batch to all that hear the topic, at once: to those inside the process,
// and to the broker for those outside. It returns when all have answered or ctx ends, and
// reports what one of them has not done with, for outbox.ErrNotNow: the others pass over it
// when it comes again.
func (m *member) Publish(ctx context.Context, topic string, batch []outbox.Message) ([]uuid.UUID, error) {
	r := m.bus.hold()
	defer r.users.Done()
	inside, outside := m.bus.hearers(r, topic)
	notTaken, broker := make([]bool, len(batch)), make(chan error, 1)
	if outside {
		go func() { broker <- m.bus.publishOutside(ctx, topic, batch, notTaken) }()
	} else {
		broker <- nil
	}
	payloads := make([][]byte, len(batch))
	for i, message := range batch {
		payloads[i] = message.Payload
	}
	open := make([]bool, len(batch))
	why := m.bus.deliver(ctx, inside, topic, payloads, open)
	why = errors.Join(why, <-broker)
	for i := range open {
		open[i] = open[i] || notTaken[i]
	}
	failed := openIDs(batch, open)
	if len(failed) == 0 {
		return nil, nil
	}
	err := fmt.Errorf("publish to %s: %w: %w", topic, outbox.ErrNotNow, why)
	if len(failed) == len(batch) {
		return nil, err
	}
	return failed, err
}

// deliver hands payloads to subscribers in the process, at once, marks what one of them
// has not done with, and says why.
func (b *Bus) deliver(ctx context.Context, names []string, topic string, payloads [][]byte, open []bool) error {
	deliveries := make([]*delivery, len(names))
	for i, name := range names {
		deliveries[i] = b.begin(ctx, name, topic, payloads)
	}
	var why error
	for i, d := range deliveries {
		if err := d.wait(ctx, open); err != nil {
			why = errors.Join(why, fmt.Errorf("%s: %w", names[i], err))
		}
	}
	return why
}

// The reasons for which a subscriber does not take an event now.
var (
	errAbsent  = errors.New("does not run in this process")
	errStopped = errors.New("is stopping")
	errAgain   = errors.New("asks for it again")
)

// delivery is a batch with one subscriber.
type delivery struct {
	batch []*inbox.Message
	done  chan struct{} // closed when the subscriber has answered; the rest is valid then
	err   error         // the whole batch is to come again
}

// begin hands a batch to a subscriber, and does not wait for it: others are to have theirs.
// The handler outlives ctx, as it may be at its commit.
func (b *Bus) begin(ctx context.Context, name, topic string, payloads [][]byte) *delivery {
	d := &delivery{batch: make([]*inbox.Message, len(payloads)), done: make(chan struct{})}
	s := b.find(name)
	if s == nil {
		d.err = errAbsent
		close(d.done)
		return d
	}
	size, messages := int64(0), make([]inbox.Message, len(payloads))
	for i, payload := range payloads {
		size += int64(len(payload))
		// An answer that is not given is none.
		messages[i] = inbox.Message{Topic: topic, Payload: payload, Verdict: inbox.Again}
		d.batch[i] = &messages[i]
	}
	size = min(max(size, minDelivery), maxInFlight)
	go func() {
		defer close(d.done)
		if d.err = s.enter(ctx, size); d.err != nil {
			return
		}
		defer s.underway.Done()
		defer s.room.Release(size)
		d.err = s.handle(context.WithoutCancel(ctx), d.batch)
	}()
	return d
}

// enter waits until the subscriber runs and has room. At the start that is a moment: the
// outboxes are first.
func (m *member) enter(ctx context.Context, size int64) error {
	select {
	case <-m.started:
	case <-ctx.Done():
		return fmt.Errorf("has not started: %w", ctx.Err())
	}
	if err := m.room.Acquire(ctx, size); err != nil {
		return fmt.Errorf("has too much under way: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		m.room.Release(size)
		return errStopped
	}
	m.underway.Add(1)
	return nil
}

// handle turns a panic into an error: nothing but an answer is one.
func (m *member) handle(ctx context.Context, batch []*inbox.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			m.Log.ErrorContext(ctx, "handling events panicked, they come again", "topic", batch[0].Topic, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panicked: %v", p)
		}
	}()
	return m.handler.Handle(ctx, batch)
}

// wait marks what the subscriber has not done with, and says why.
func (d *delivery) wait(ctx context.Context, open []bool) error {
	var err error
	select {
	case <-d.done:
		err = d.err
	case <-ctx.Done():
		err = fmt.Errorf("has not answered: %w", ctx.Err())
	}
	if err != nil {
		for i := range open {
			open[i] = true
		}
		return err
	}
	for i, m := range d.batch {
		if m.Verdict != inbox.Done {
			open[i], err = true, errAgain
		}
	}
	return err
}
