package outbox

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// queue holds committed messages by topic until they are published. A topic is
// with one publisher at a time, or as many as parallel says: what comes meanwhile forms
// the next batch, so batches grow with the load and an idle system waits for nothing.
// A topic that
// the broker refuses pauses; see line.
type queue struct {
	max      int
	maxBytes int
	parallel int

	mu     sync.Mutex
	held   map[uuid.UUID]struct{} // queued or being published
	bytes  int                    // of the payloads held
	lines  map[string]*line
	ready  []*line // with messages and without publisher or pause, oldest first
	closed bool
	wake   chan struct{} // one token for each ready line, as far as there is room
}

func newQueue(limit, maxBytes, parallel int) *queue {
	return &queue{
		max:      limit,
		maxBytes: maxBytes,
		parallel: parallel,
		held:     make(map[uuid.UUID]struct{}),
		lines:    make(map[string]*line),
		wake:     make(chan struct{}, publishers*parallel),
	}
}

// push queues messages and returns how many found no room. Messages that are
// held already are passed over. There is room for any message as long as fewer
// than maxBytes are held, so that one of any size goes out: what is held stays
// below maxBytes and one message.
func (q *queue) push(batch []Message) (left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range batch {
		if q.closed || len(q.held) >= q.max || q.bytes >= q.maxBytes {
			return left + len(batch) - i
		}
		if _, ok := q.held[m.ID]; ok {
			continue
		}
		l := q.line(m.Topic)
		if l.failures > 0 && len(l.waiting) >= maxBatch {
			left++
			continue
		}
		q.held[m.ID] = struct{}{}
		q.bytes += len(m.Payload)
		l.waiting = append(l.waiting, m)
		q.schedule(l)
	}
	return left
}

func (q *queue) line(topic string) *line {
	l := q.lines[topic]
	if l == nil {
		l = &line{topic: topic}
		q.lines[topic] = l
	}
	return l
}

// release lets go of messages, whatever became of them.
func (q *queue) release(batch []Message) {
	for _, m := range batch {
		delete(q.held, m.ID)
		q.bytes -= len(m.Payload)
	}
}

// room returns how many more messages and bytes the queue takes.
func (q *queue) room() (messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max - len(q.held), q.maxBytes - q.bytes
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
	l := q.ready[0]
	q.ready = q.ready[1:]
	l.ready = false
	l.busy++
	if l.failures > 0 {
		limit = 1 // to see whether the broker takes the topic again
	}
	n := fitting(l.waiting[:min(limit, len(l.waiting))])
	// A copy: the array would keep the payloads of what is published long since.
	batch = slices.Clone(l.waiting[:n])
	clear(l.waiting[:n])
	l.waiting = l.waiting[n:]
	q.schedule(l) // another publisher may take what is left
	return batch, false
}

// fitting returns how many of the first messages, but at least one, go into one
// call: they stay within maxBatchBytes, and what was refused by itself goes alone.
func fitting(waiting []Message) int {
	size := 0
	for i, m := range waiting {
		size += len(m.Payload)
		if i > 0 && (size > maxBatchBytes || m.alone() || waiting[0].alone()) {
			return i
		}
	}
	return len(waiting)
}

// done gives a pulled batch back with what became of it.
func (q *queue) done(batch []Message, out outcome) verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(batch)
	l := q.line(batch[0].Topic)
	l.busy--
	v := l.judge(out, time.Now())
	if l.failures > 0 {
		q.trim(l)
	}
	q.schedule(l)
	if q.closed && len(q.held) == 0 {
		q.wakeAll()
	}
	return v
}

// trim leaves to the table what a refused topic would only take room with; when
// the outbox ends, all of it.
func (q *queue) trim(l *line) {
	keep := maxBatch
	if q.closed {
		keep = 0
	}
	if len(l.waiting) > keep {
		q.release(l.waiting[keep:])
		l.waiting = slices.Clone(l.waiting[:keep])
	}
}

// schedule makes a line ready if it can be, now or when its pause is over.
func (q *queue) schedule(l *line) {
	if l.ready || len(l.waiting) == 0 || l.busy >= q.parallel || l.busy > 0 && l.failures > 0 {
		return
	}
	if pause := time.Until(l.until); l.failures > 0 && pause > 0 {
		l.resume(pause, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.schedule(l)
		})
		return
	}
	l.ready = true
	q.ready = append(q.ready, l)
	q.wakeOne()
}

// topics is what recovery has to know of them.
type topics struct {
	failing []string        // the broker refuses
	paused  map[string]bool // of these: not to be tried now
	aside   []string        // have rows set aside, as far as is known
}

func (q *queue) topics() topics {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := topics{failing: []string{}, paused: make(map[string]bool)} // in SQL, null is no empty array
	for _, l := range q.lines {
		if l.failures > 0 {
			t.failing = append(t.failing, l.topic)
			t.paused[l.topic] = l.busy > 0 || len(l.waiting) > 0 || time.Now().Before(l.until)
		}
		if l.aside {
			t.aside = append(t.aside, l.topic)
		}
	}
	return t
}

// setAside remembers which topics have rows set aside.
func (q *queue) setAside(topics []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, topic := range topics {
		q.line(topic).aside = true
	}
}

// measured remembers that no other topics have rows set aside.
func (q *queue) measured(topics map[string]int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for topic := range topics {
		q.line(topic).aside = true
	}
	for topic, l := range q.lines {
		if _, ok := topics[topic]; !ok {
			l.aside = false
		}
	}
}

// close refuses further messages and lets publishers end once all are done.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, l := range q.lines {
		if l.failures > 0 && !l.ready {
			q.trim(l)
		}
		l.stop()
	}
	q.wakeAll()
}

func (q *queue) wakeOne() {
	select {
	case q.wake <- struct{}{}:
	default: // all publishers have a token each and will look
	}
}

func (q *queue) wakeAll() {
	for range cap(q.wake) {
		q.wakeOne()
	}
}
