package inbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtx"
)

const (
	// StopAfter different events of a topic, or of all, that fail one after another
	// are taken for a fault of ours and not of theirs.
	StopAfter = 5
	// heldFor is how long an event that failed counts as failing still, once it does
	// not come again: another replica may have handled it.
	heldFor = 30 * time.Second
	// failedFor is how long a failure counts for those of later ones: a few bad events
	// of a rare topic within weeks are not one after another.
	failedFor = 10 * time.Minute
	// maxHeld bounds what is known of events that fail.
	maxHeld = 10_000
	// acceptFor is how long an operator's word holds that failing events be parked.
	acceptFor = 5 * time.Minute
)

// breaker decides whether an event that failed for good is parked. It is not while
// the fault seems to be ours: where the error says so (pgtx.Defect), or where
// several different events of one topic, or of any, failed without one having
// succeeded in between. Those events are delivered again until they succeed, or
// others do, or an operator has them parked.
type breaker struct {
	consumer string
	log      *slog.Logger

	noted atomic.Bool // anything of the below, so that success costs nothing

	mu sync.Mutex
	// failed since the last success, by topic, and when last; under "" those of all topics.
	failed map[string]map[uuid.UUID]time.Time
	// held are the events that came and were not parked.
	held     map[uuid.UUID]*heldEvent
	accepted map[uuid.UUID]time.Time // until when
	alarm    error
}

type heldEvent struct {
	topic  string
	defect bool
	last   time.Time
}

func newBreaker(consumer string, log *slog.Logger) *breaker {
	return &breaker{
		consumer: consumer, log: log, failed: make(map[string]map[uuid.UUID]time.Time),
		held: make(map[uuid.UUID]*heldEvent), accepted: make(map[uuid.UUID]time.Time),
	}
}

// refuse notes an event that failed for good and reports whether it must not be
// parked now.
func (b *breaker) refuse(ctx context.Context, id uuid.UUID, topic string, cause error, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noted.Store(true)
	if until, ok := b.accepted[id]; ok && now.Before(until) {
		delete(b.accepted, id)
		delete(b.held, id)
		b.settle(ctx, now)
		return false
	}
	defect := pgtx.Defect(cause)
	if !defect {
		b.age(now)
		b.count("", id, now)
		b.count(topic, id, now)
		if !b.open(topic) {
			return false
		}
	}
	if h := b.held[id]; h != nil || len(b.held) < maxHeld {
		b.held[id] = &heldEvent{topic, defect, now}
	}
	if b.alarm == nil {
		b.alarm = alarmOf(b.consumer, topic, cause, defect)
		b.log.ErrorContext(ctx, "parking has stopped: events that fail are delivered again until they succeed",
			"event_id", id, "topic", topic, "err", b.alarm)
	}
	return true
}

func alarmOf(consumer, topic string, cause error, defect bool) error {
	why := "an event of " + topic + " failed for a fault that is not its own"
	if !defect {
		why = fmt.Sprintf("%d different events failed one after another, the last one of %s", StopAfter, topic)
	}
	return fmt.Errorf("%s; mend the cause, or have the failing events parked with quad parked accept %s: %w", why, consumer, cause)
}

func (b *breaker) count(key string, id uuid.UUID, now time.Time) {
	ids := b.failed[key]
	if ids == nil {
		ids = make(map[uuid.UUID]time.Time, StopAfter)
		b.failed[key] = ids
	}
	if len(ids) < StopAfter {
		ids[id] = now
	}
}

// age forgets failures of long ago, but not those that stopped parking: that they
// do not come again is no success.
func (b *breaker) age(now time.Time) {
	for key, ids := range b.failed {
		if len(ids) >= StopAfter {
			continue
		}
		for id, last := range ids {
			if now.Sub(last) > failedFor {
				delete(ids, id)
			}
		}
		if len(ids) == 0 {
			delete(b.failed, key)
		}
	}
}

// open reports whether events of a topic that fail are not parked.
func (b *breaker) open(topic string) bool {
	return len(b.failed[topic]) >= StopAfter || len(b.failed[""]) >= StopAfter
}

// hopeless reports whether it is known that trying an event a few times more makes
// others wait in vain.
func (b *breaker) hopeless(topic string, cause error) bool {
	if pgtx.Defect(cause) {
		return true
	}
	if !b.noted.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open(topic)
}

// succeeded notes events that had their effect.
func (b *breaker) succeeded(ctx context.Context, handled []Delivery, now time.Time) {
	if len(handled) == 0 || !b.noted.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failed, "")
	mended := make(map[string]bool) // topics in which what failed for a defect succeeds now
	for _, d := range handled {
		topic := d.Event.Type()
		delete(b.failed, topic)
		if h := b.held[d.ID]; h != nil && h.defect {
			mended[topic] = true
		}
		delete(b.held, d.ID)
	}
	for id, h := range b.held {
		if h.defect && mended[h.topic] || !h.defect && !b.open(h.topic) {
			delete(b.held, id)
		}
	}
	b.settle(ctx, now)
}

// settle forgets what does not come again. Where nothing is held any more the count
// begins again and the alarm ends.
func (b *breaker) settle(ctx context.Context, now time.Time) {
	held := make(map[string]bool)
	for id, h := range b.held {
		if now.Sub(h.last) > heldFor {
			delete(b.held, id)
			continue
		}
		held[h.topic], held[""] = true, true
	}
	for id, until := range b.accepted {
		if now.After(until) {
			delete(b.accepted, id)
		}
	}
	b.age(now)
	for key, ids := range b.failed {
		if len(ids) >= StopAfter && !held[key] {
			delete(b.failed, key)
		}
	}
	if b.alarm != nil && len(b.held) == 0 {
		b.alarm = nil
		b.log.InfoContext(ctx, "parking goes on: no event fails any more, or those that do are parked by an operator's word")
	}
	b.noted.Store(len(b.held)+len(b.failed)+len(b.accepted) > 0)
}

// tend notes that time passes.
func (b *breaker) tend(ctx context.Context, now time.Time) {
	if b.noted.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.settle(ctx, now)
	}
}

// holds reports whether an event is known to fail and is not to be parked yet.
func (b *breaker) holds(id uuid.UUID) bool {
	if !b.noted.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, held := b.held[id]
	_, accepted := b.accepted[id]
	return held && !accepted
}

// accept lets up to limit of the events that are held be parked when they fail the
// next time, and returns how many these are.
func (b *breaker) accept(ctx context.Context, limit int, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(ctx, now)
	n := 0
	for id := range b.held {
		if n >= limit {
			break
		}
		b.accepted[id] = now.Add(acceptFor)
		n++
	}
	return n
}

func (b *breaker) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alarm
}
