package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/codes"

	"quadrille.internal/platform/pgtx"
)

const (
	handleTimeout = 12 * time.Second
	// probeFor is how long a batch has those tried that are known to fail or to wait.
	probeFor = 100 * time.Millisecond
	// tries of an event on its own before it is parked: a cause that mends itself
	// within moments is seldom, and others wait meanwhile.
	tries    = 3
	tryPause = 20 * time.Millisecond
)

// pace is how long a batch waits for others that are in its way.
type pace struct {
	// whole is for all of it, part for what is left of one that did not succeed.
	whole, part pgtx.Limits
	// dividing is how long it is divided, and longer until one event was found that
	// others are in the way of: so each division makes the next one easier. What fails
	// later comes again.
	dividing time.Duration
}

// As a rule a batch waits as long as those may take who handle others at the same
// time. While locks are known to be held for longer it does not: the good events are
// many, and the others come again.
var (
	patient = pace{
		whole:    pgtx.Limits{Lock: 500 * time.Millisecond, Statement: 3 * time.Second},
		part:     pgtx.Limits{Lock: 50 * time.Millisecond, Statement: 500 * time.Millisecond},
		dividing: 2 * time.Second,
	}
	hurried = pace{
		whole:    pgtx.Limits{Lock: 100 * time.Millisecond, Statement: time.Second},
		part:     pgtx.Limits{Lock: 20 * time.Millisecond, Statement: 500 * time.Millisecond},
		dividing: 500 * time.Millisecond,
	}
	probing = pgtx.Limits{Lock: 10 * time.Millisecond, Statement: 500 * time.Millisecond}
)

// run is one call of handle.
type run struct {
	*Inbox
	pace
	failed time.Time // when the batch did as a whole; zero before
	found  bool      // an event that others are in the way of
}

// handle is the group's run function.
func (in *Inbox) handle(ctx context.Context, batch []*Message) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	r := &run{Inbox: in, pace: patient}
	if in.suspects.some(time.Now()) {
		r.pace = hurried
	}
	calm, suspect := r.separate(batch)
	if len(calm) > 0 {
		r.divide(ctx, calm, r.whole)
	}
	r.probe(ctx, suspect)
	for _, m := range batch {
		m.span.End()
	}
}

// separate takes those apart that are known to fail or to wait: they would only make the
// others do so too.
func (r *run) separate(batch []*Message) (calm, suspect []*Message) {
	for i, m := range batch {
		if !r.suspect(m) {
			if suspect != nil {
				calm = append(calm, m)
			}
			continue
		}
		if suspect == nil {
			calm = append([]*Message(nil), batch[:i]...)
		}
		suspect = append(suspect, m)
	}
	if suspect == nil {
		return batch, nil
	}
	return calm, suspect
}

func (in *Inbox) suspect(m *Message) bool {
	return in.suspects.has(m.delivery.ID, time.Now()) || in.breaker.holds(m.delivery.ID)
}

// probe tries suspects one by one, for a little while. Those that are not reached come
// again; those that are suspects no more, since another has succeeded, go together.
func (r *run) probe(ctx context.Context, suspect []*Message) {
	began := time.Now()
	for len(suspect) > 0 && time.Since(began) < probeFor {
		r.divide(ctx, suspect[:1], r.suspects.limits(suspect[0].delivery.ID, time.Now()))
		suspect = suspect[1:]
		calm, left := r.separate(suspect)
		if len(calm) > 0 {
			r.divide(ctx, calm, r.part)
		}
		suspect = left
	}
	if len(suspect) > 0 {
		r.settle(suspect, Again)
	}
}

// errSlow says that a transaction took too long, though none of its statements did.
var errSlow = errors.New("took too long")

// attempt is apply in one and a half times as long as a statement may take: however
// a batch fails, there must be time left to divide it.
func (r *run) attempt(ctx context.Context, batch []*Message, limits pgtx.Limits) error {
	// Of two that wait for each other one must give up first, before PostgreSQL would
	// look for a deadlock.
	limits.Lock = limits.Lock/2 + rand.N(limits.Lock/2+1) //nolint:gosec // jitter needs no secrecy
	mine, cancel := context.WithTimeout(ctx, limits.Statement*3/2)
	defer cancel()
	err := r.apply(mine, batch, r.asking.Load(), limits)
	if err != nil && mine.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return err
}

// divide handles a batch, in halves where it fails as a whole.
func (r *run) divide(ctx context.Context, batch []*Message, limits pgtx.Limits) {
	err := r.attempt(ctx, batch, limits)
	if len(batch) == 1 && limits == r.whole && pgtx.Contended(err) {
		// A lock time-out comes before PostgreSQL looks for a deadlock, which would have
		// run again by itself. So this does: who was in the way may be done by now.
		err = r.attempt(ctx, batch, r.part)
	}
	if r.failed.IsZero() {
		r.failed = time.Now()
	}
	switch {
	case err == nil:
		r.count.batches.Add(1)
		r.settle(batch, Done)
	case r.sendBack(ctx, batch, err):
		r.settle(batch, Again)
	case len(batch) == 1:
		r.persist(ctx, batch[0], err)
	default:
		half := len(batch) / 2
		r.divide(ctx, batch[:half], r.part)
		r.divide(ctx, batch[half:], r.part)
	}
}

// sendBack reports whether all of a batch must be delivered again: what made it fail
// would do so to each part. It notes an event that others are in the way of.
func (r *run) sendBack(ctx context.Context, batch []*Message, err error) bool {
	switch {
	case pgtx.Contended(err), errors.Is(err, errSlow):
		if len(batch) == 1 {
			r.found = true
			if s, n := r.suspects.note(batch[0].delivery.ID, batch[0].Topic, time.Now()); n > 0 {
				r.cfg.Log.WarnContext(ctx, "others are in the way of an event, or it takes too long; it is delivered again: end the session that pg_blocking_pids names",
					"event_id", s.id, "topic", s.topic, "tries", s.tries, "since", s.first, "events", n, "err", err)
			}
			return true
		}
		return ctx.Err() != nil || r.found && time.Since(r.failed) > r.dividing
	case pgtx.Unreachable(err):
		if pgtx.Defect(err) {
			r.breaker.refuse(ctx, batch[0].id(), batch[0].Topic, err, time.Now()) // for the alarm
		}
	case pgtx.Defect(err):
		return ctx.Err() != nil || len(batch) > 1 && time.Since(r.failed) > r.dividing
	case !pgtx.Transient(err):
		return false
	}
	r.cfg.Log.WarnContext(ctx, "events will be delivered again", "events", len(batch), "err", err)
	return true
}

// persist tries an event that failed on its own a few times more, then gives it up.
func (r *run) persist(ctx context.Context, m *Message, err error) {
	for m.attempts = 1; m.attempts < tries && !r.breaker.hopeless(m.Topic, err); m.attempts++ {
		if pgtx.Sleep(ctx, tryPause) != nil {
			break
		}
		if err = r.apply(ctx, []*Message{m}, true, r.part); err == nil || pgtx.Transient(err) {
			break
		}
	}
	switch {
	case err == nil:
		r.settle([]*Message{m}, Done)
	case pgtx.Transient(err) || ctx.Err() != nil:
		r.settle([]*Message{m}, Again)
	default:
		m.span.SetStatus(codes.Error, "given up")
		r.giveUp(ctx, m, err)
	}
}
