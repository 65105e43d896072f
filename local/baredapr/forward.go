package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// As the outbox publishes: one call at a time for a topic, and what comes
// meanwhile goes together into the next.
const (
	maxBatch       = 200
	maxQueued      = 20_000
	publishTimeout = 4 * time.Second
)

// forwarder publishes messages to the next hop.
type forwarder struct {
	publisher outbox.Publisher
	topic     string
	log       *slog.Logger
	queue     chan outbox.Message
}

func newForwarder(p outbox.Publisher, topic string, log *slog.Logger) *forwarder {
	return &forwarder{publisher: p, topic: topic, log: log, queue: make(chan outbox.Message, maxQueued)}
}

// send queues a message whose payload begins as envelope builds it.
func (f *forwarder) send(ctx context.Context, payload []byte) error {
	id, err := eventID(payload)
	if err != nil {
		return err
	}
	m := outbox.Message{ID: id, Topic: f.topic, Key: id.String(), Payload: payload}
	select {
	case f.queue <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run publishes until ctx ends.
func (f *forwarder) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-f.queue:
			f.publish(ctx, f.gather(first))
		}
	}
}

// gather takes what is there and waits for nothing.
func (f *forwarder) gather(first outbox.Message) []outbox.Message {
	batch := []outbox.Message{first}
	for len(batch) < maxBatch {
		select {
		case m := <-f.queue:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// publish drops what the sidecar refuses: the run then fails for want of it,
// and there is no figure, rather than a wrong one.
func (f *forwarder) publish(ctx context.Context, batch []outbox.Message) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := f.publisher.Publish(ctx, f.topic, batch); err != nil {
		f.log.ErrorContext(ctx, "messages lost", "topic", f.topic, "messages", len(batch), "err", err)
	}
}

// hop passes on what it is given.
type hop struct{ out *forwarder }

// Handle answers as soon as the messages are queued.
func (h hop) Handle(ctx context.Context, batch []*inbox.Message) error {
	for _, m := range batch {
		if err := h.out.send(ctx, m.Payload); err != nil {
			return err
		}
	}
	return nil
}

// HandleDead is never called as long as nothing fails.
func (hop) HandleDead(context.Context, []*inbox.Message) {}

// envelopeHead is how every event of the services begins.
const envelopeHead = `{"specversion":"1.0","id":"`

const uuidLength = 36

func eventID(payload []byte) (uuid.UUID, error) {
	const from, to = len(envelopeHead), len(envelopeHead) + uuidLength
	if len(payload) < to {
		return uuid.UUID{}, errTooShort
	}
	return uuid.ParseBytes(payload[from:to])
}
