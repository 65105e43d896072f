package outbox

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/codes"

	"quadrille.internal/platform/telemetry"
)

// What a Publisher's error may wrap, if it is known.
var (
	// ErrTopicRefused says that no message of the topic will be taken.
	ErrTopicRefused = errors.New("topic refused")
	// ErrAway says that the broker, or the way to it, does not answer.
	ErrAway = errors.New("broker away")
	// ErrNotNow says that what was not taken may be tried again in some seconds, and
	// that neither the messages nor the topic are to blame: somebody who must have them
	// is away, or busy. They stay in the table, and their lease says when.
	ErrNotNow = errors.New("not now")
)

const (
	publishers    = 4       // topics with batches under way at once
	maxBatch      = 200     // messages in one publish call
	maxBatchBytes = 2 << 20 // in one publish call: daprd takes 4 MiB unless told otherwise
	// maxDivided bounds the calls that look for the message that makes a batch fail.
	maxDivided = 64
)

// publish takes batch after batch from the queue to the broker.
func (o *Outbox) publish(ctx context.Context) {
	for {
		batch := o.queue.pull(ctx, maxBatch)
		if batch == nil {
			return
		}
		out := o.send(ctx, batch)
		o.settlement.remove(rowsOf(out.taken))
		v := o.queue.done(batch, out)
		o.settlement.refuse(v.refused)
		o.report(ctx, batch[0].Topic, out, v)
	}
}

// send publishes a batch. Where the broker takes none of it, it finds out whether
// that is because of the topic or of single messages: daprd does not tell, it
// reports a call of which one message failed as failed.
func (o *Outbox) send(ctx context.Context, batch []Message) outcome {
	taken, left, err := o.call(ctx, batch)
	out := outcome{taken: taken, err: err}
	switch {
	case len(left) == 0:
	case errors.Is(err, ErrNotNow):
		out.later = left
	case conclusive(err), len(batch) == 1 && !batch[0].alone():
		out.failed = left
	case len(taken) > 0, len(batch) == 1:
		out.alone = left
	default:
		o.divide(ctx, batch, &out)
	}
	o.count.failed.Add(int64(len(out.alone) + len(out.failed) + len(out.later)))
	return out
}

// conclusive reports whether an error is not because of single messages.
func conclusive(err error) bool {
	return errors.Is(err, ErrAway) || errors.Is(err, ErrNotNow) || errors.Is(err, ErrTopicRefused) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// divide tries some of a failed batch by themselves. If none is taken, it is
// because of the topic, as far as can be told. Otherwise the rest is halved until
// those that are refused stand alone.
func (o *Outbox) divide(ctx context.Context, batch []Message, out *outcome) {
	first, middle, last := 0, len(batch)/2, len(batch)-1
	var rest, refused []Message
	for i, m := range batch {
		if i != first && i != middle && i != last {
			rest = append(rest, m)
			continue
		}
		taken, left, err := o.call(ctx, batch[i:i+1])
		out.taken = append(out.taken, taken...)
		refused = append(refused, left...)
		if err != nil {
			out.err = err
		}
		if len(left) > 0 && conclusive(err) {
			out.failed = without(batch, idsOf(out.taken))
			return
		}
	}
	if len(out.taken) == 0 {
		out.failed = batch
		return
	}
	out.alone = refused
	calls := maxDivided
	o.halve(ctx, rest, &calls, out)
}

func (o *Outbox) halve(ctx context.Context, batch []Message, calls *int, out *outcome) {
	if len(batch) == 0 {
		return
	}
	if *calls == 0 {
		out.alone = append(out.alone, batch...) // so many are bad: each by itself next time
		return
	}
	*calls--
	taken, left, err := o.call(ctx, batch)
	out.taken = append(out.taken, taken...)
	switch {
	case len(left) == 0:
		return
	case conclusive(err):
		out.failed = append(out.failed, left...)
	case len(taken) > 0, len(batch) == 1:
		out.alone = append(out.alone, left...)
	default:
		o.halve(ctx, batch[:len(batch)/2], calls, out)
		o.halve(ctx, batch[len(batch)/2:], calls, out)
	}
	out.err = err
}

// call publishes messages of one topic in one call.
func (o *Outbox) call(ctx context.Context, batch []Message) (taken, left []Message, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.PublishTimeout)
	defer cancel()
	ctx, span := telemetry.SendEvents(ctx, telemetry.Event{System: o.cfg.System, Topic: batch[0].Topic}, traces(batch))
	defer span.End()
	began := time.Now()
	failed, err := o.cfg.Publisher.Publish(ctx, batch[0].Topic, batch)
	if err != nil {
		span.SetStatus(codes.Error, "not all were taken")
	}
	o.count.calls.Add(1)
	o.cfg.Timings.Call.Observe(batch[0].Topic, time.Since(began))
	o.cfg.Timings.Batch.Observe(batch[0].Topic, len(batch))
	if err != nil && len(failed) == 0 {
		return nil, batch, err
	}
	taken = without(batch, failed)
	o.observe(taken, began, time.Now())
	o.count.published.Add(int64(len(taken)))
	if len(taken) < len(batch) {
		left = without(batch, idsOf(taken))
	}
	return taken, left, err
}

// observe notes how long events of a topic waited for a call that began then, how long it
// took, and how old they were when it had ended.
func (o *Outbox) observe(taken []Message, began, ended time.Time) {
	for _, m := range taken {
		if !m.committed.IsZero() {
			o.cfg.Timings.Queue.ObserveIn(m.trace, m.Topic, began.Sub(m.committed))
			o.cfg.Timings.Publish.ObserveIn(m.trace, m.Topic, ended.Sub(began))
		}
		if m.ID.Version() == 7 { // which has the time; a row that was written by hand may have none
			o.cfg.Timings.Lag.ObserveIn(m.trace, m.Topic, max(0, ended.Sub(time.Unix(m.ID.Time().UnixTime()))))
		}
	}
}

// report logs what an operator should know of a topic, each kind once a while.
func (o *Outbox) report(ctx context.Context, topic string, out outcome, v verdict) {
	if v.report {
		o.cfg.Log.WarnContext(ctx, "the broker takes nothing of a topic; its events wait in the outbox",
			"topic", topic, "failures", v.failures, "since", v.since, "err", out.err)
	}
	if v.back {
		o.cfg.Log.InfoContext(ctx, "the broker takes the topic again",
			"topic", topic, "failures", v.failures, "since", v.since)
	}
	if v.reportAlone {
		m := out.alone[0]
		o.cfg.Log.WarnContext(telemetry.Within(ctx, traceIn(m.Payload)), "the broker refuses an event and takes others of its topic; it is tried again more and more rarely",
			"topic", topic, "event_id", m.ID, "bytes", len(m.Payload), "events", len(out.alone), "err", out.err)
	}
}

// traces are the trace contexts of a batch.
func traces(batch []Message) []string {
	all := make([]string, len(batch))
	for i, m := range batch {
		all[i] = m.trace
		if m.committed.IsZero() {
			all[i] = traceIn(m.Payload)
		}
	}
	return all
}

// traceIn finds the trace context of an event that comes from the table. Customers' texts are
// in its data, which are last.
func traceIn(payload []byte) string {
	_, after, _ := bytes.Cut(payload, []byte(`"traceparent":"`))
	value, _, _ := bytes.Cut(after, []byte{'"'})
	return string(value)
}

func idsOf(batch []Message) []uuid.UUID {
	ids := make([]uuid.UUID, len(batch))
	for i, m := range batch {
		ids[i] = m.ID
	}
	return ids
}

func without(batch []Message, ids []uuid.UUID) []Message {
	if len(ids) == 0 {
		return batch
	}
	drop := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		drop[id] = struct{}{}
	}
	kept := make([]Message, 0, len(batch))
	for _, m := range batch {
		if _, ok := drop[m.ID]; !ok {
			kept = append(kept, m)
		}
	}
	return kept
}
