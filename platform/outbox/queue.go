package outbox

import (
	"context"
	"sync"

	"github.com/google/uuid"
)

// queue holds committed messages by topic until they are published. A topic is
// with one publisher at a time: what comes meanwhile forms the next batch, so
// batches grow with the load and an idle system waits for nothing.
type queue struct {
	max int

	mu     sync.Mutex
	held   map[uuid.UUID]struct{} // queued or being published
	topics map[string][]Message
	ready  []string // topics with messages and without a publisher, oldest first
	busy   map[string]bool
	closed bool
	wake   chan struct{} // one token for each ready topic, as far as there is room
}

func newQueue(limit int) *queue {
	return &queue{
		max:    limit,
		held:   make(map[uuid.UUID]struct{}),
		topics: make(map[string][]Message),
		busy:   make(map[string]bool),
		wake:   make(chan struct{}, publishers),
	}
}

// push queues messages and returns how many found no room. Messages that are
// held already are passed over.
func (q *queue) push(batch []Message) (left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range batch {
		if q.closed || len(q.held) >= q.max {
			return len(batch) - i
		}
		if _, ok := q.held[m.ID]; ok {
			continue
		}
		q.held[m.ID] = struct{}{}
		waiting := q.topics[m.Topic]
		q.topics[m.Topic] = append(waiting, m)
		if len(waiting) == 0 && !q.busy[m.Topic] {
			q.makeReady(m.Topic)
		}
	}
	return 0
}

// room returns how many more messages the queue takes.
func (q *queue) room() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max - len(q.held)
}

// pull waits for messages and returns up to limit of one topic, or nothing once
// the queue is closed and empty, or ctx ends. The caller owes a done.
func (q *queue) pull(ctx context.Context, limit int) []Message {
	for ctx.Err() == nil {
		if batch, end := q.tryPull(limit); batch != nil || end {
			return batch
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
	return nil
}

func (q *queue) tryPull(limit int) (batch []Message, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return nil, q.closed && len(q.held) == 0
	}
	topic := q.ready[0]
	q.ready = q.ready[1:]
	waiting := q.topics[topic]
	n := fitting(waiting[:min(limit, len(waiting))])
	batch = waiting[:n:n]
	if n == len(waiting) {
		delete(q.topics, topic)
	} else {
		q.topics[topic] = waiting[n:]
	}
	q.busy[topic] = true
	return batch, false
}

// fitting returns how many of the first messages, but at least one, stay within
// maxBatchBytes.
func fitting(waiting []Message) int {
	size := 0
	for i, m := range waiting {
		size += len(m.Payload)
		if size > maxBatchBytes && i > 0 {
			return i
		}
	}
	return len(waiting)
}

// done gives a pulled batch back, whatever became of it.
func (q *queue) done(batch []Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range batch {
		delete(q.held, m.ID)
	}
	topic := batch[0].Topic
	delete(q.busy, topic)
	if len(q.topics[topic]) > 0 {
		q.makeReady(topic)
	}
	if q.closed && len(q.held) == 0 {
		q.wakeAll()
	}
}

// close refuses further messages and lets publishers end once all are done.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wakeAll()
}

func (q *queue) makeReady(topic string) {
	q.ready = append(q.ready, topic)
	q.wakeOne()
}

func (q *queue) wakeOne() {
	select {
	case q.wake <- struct{}{}:
	default: // all publishers have a token each and will look
	}
}

func (q *queue) wakeAll() {
	for range publishers {
		q.wakeOne()
	}
}
