// Package inbox handles delivered events, each with effect once.
//
// A batch is handled in one transaction: the inbox rows, the handler's effects
// and the events these cause. An event whose inbox row exists already has had
// its effect and is passed over. A batch that fails is split, so that one bad
// event fails alone; that one is parked in PostgreSQL and can be replayed.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"quadrille.internal/events"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/telemetry"
)

// Delivery is one event for the handler.
type Delivery struct {
	// ID is the CloudEvents id.
	ID uuid.UUID
	// Event is the typed payload, checked.
	Event events.Event
	// Trace is the W3C trace context for what the event causes.
	Trace string
	// Time is when the event happened.
	Time time.Time
}

// Orders returns the orders that a batch is about, with repetitions.
func Orders(batch []Delivery) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(batch))
	for _, d := range batch {
		if id := events.OrderOf(d.Event); id != uuid.Nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Handler has the effects of a batch of events, none of which had one before, in
// any order of types. It decides and writes within tx, and emits what the effects
// cause; an error or panic undoes all of it. It may run again for the same events,
// and even for one that had its effect, but only what it does once is committed.
type Handler func(ctx context.Context, tx *outbox.Tx, batch []Delivery) error

// Verdict is what the broker is told about one message.
type Verdict int

// The verdicts.
const (
	// Done: handled now or before, or parked.
	Done Verdict = iota
	// Again: deliver it once more; something we need is away.
	Again
)

// ErrNotParked says that there is no such parked event.
var ErrNotParked = errors.New("no such parked event")

// Message is a message as delivered. Verdict is filled in by Handle.
type Message struct {
	Topic   string
	Payload []byte
	Verdict Verdict

	delivery Delivery
	arrived  time.Time
	span     trace.Span
	attempts int
}

// Config of an Inbox.
type Config struct {
	// Consumer is the consumer group: the service's name.
	Consumer string
	// System is what brings the events, as spans name it.
	System  string
	Pool    *pgxpool.Pool
	Outbox  *outbox.Outbox
	Handler Handler
	Log     *slog.Logger
	// Group sets how deliveries are batched.
	Group   group.Config
	Timings Timings
}

// Timings say by topic where the time of events goes; those that are nil are not kept.
type Timings struct {
	// Arrival is from an event's time, the start of its transaction at the sender, to
	// its arrival here.
	Arrival *telemetry.Durations
	// Wait is from its arrival to the start of the transaction that handled it.
	Wait *telemetry.Durations
	// Transaction is that one.
	Transaction *telemetry.Durations
	// Delivery is from a batch's arrival to its verdicts, once for each batch.
	Delivery *telemetry.Durations
	// Batch is the number of events that a transaction handled.
	Batch *telemetry.Sizes
}

// NewTimings exposes timings.
func NewTimings(m *telemetry.Metrics) Timings {
	return Timings{
		Arrival:     m.Durations("inbox_arrival_seconds", "topic", "From an event's time, the start of its transaction at the sender, to its arrival."),
		Wait:        m.Durations("inbox_wait_seconds", "topic", "From an event's arrival to the start of the transaction that handled it."),
		Transaction: m.Durations("inbox_transaction_seconds", "topic", "The transaction that handled an event, to its commit."),
		Delivery:    m.Durations("inbox_delivery_seconds", "topic", "From the arrival of a batch of events to the answer."),
		Batch:       m.Sizes("inbox_batch_size", "", "Events that a transaction handled, duplicates included."),
	}
}

// Inbox is one service's inbox.
type Inbox struct {
	cfg   Config
	group *group.Group[*Message]
	count counters
	// breaker decides what is parked.
	breaker *breaker
	// suspects are tried apart from others.
	suspects suspects
	// stored counts the parked events; changed asks for another count.
	stored  atomic.Int64
	changed chan struct{}
	// asking is set while events come again, as they do after a crash: then a
	// transaction asks first which it knows.
	asking atomic.Bool
}

// New returns an Inbox. Run must be running for it to handle anything.
func New(cfg Config) *Inbox {
	in := &Inbox{cfg: cfg, breaker: newBreaker(cfg.Consumer, cfg.Log), changed: make(chan struct{}, 1)}
	in.group = group.New(cfg.Group, in.handle)
	return in
}

// Run handles deliveries, and forgets ids no broker can repeat, until ctx ends
// and all that was taken in is done.
func (in *Inbox) Run(ctx context.Context) error {
	in.firstDays(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { in.pruneLoop(ctx) })
	beside.Go(func() { in.watchLoop(ctx) })
	err := in.group.Run(ctx)
	beside.Wait()
	return err
}

// Handle handles messages and fills in their verdicts. With an error there are
// none: all of them must be delivered again.
func (in *Inbox) Handle(ctx context.Context, batch []*Message) error {
	if len(batch) == 0 {
		return nil
	}
	fit := make([]*Message, 0, len(batch))
	arrived := time.Now()
	defer func() { in.cfg.Timings.Delivery.Observe(batch[0].Topic, time.Since(arrived)) }()
	for _, m := range batch {
		m.arrived = arrived
		if err := in.open(ctx, m); err != nil {
			// It may be rubbish, or an event of a version newer than ours.
			in.giveUp(ctx, m, err)
			continue
		}
		fit = append(fit, m)
	}
	if len(fit) == 0 {
		return nil
	}
	return in.group.Do(ctx, fit...)
}

// HandleDead parks messages that the sidecar gave up on and moved to the
// dead-letter topic, under the topic they came from. It always does: nothing was
// tried that could tell whose fault it is, and this is the last place they have.
func (in *Inbox) HandleDead(ctx context.Context, batch []*Message) {
	for _, m := range batch {
		env, _, err := events.Decode(m.Payload)
		m.delivery = Delivery{ID: env.ID, Trace: env.TraceParent}
		if env.Type != "" {
			m.Topic = env.Type
		}
		in.park(ctx, m, errors.Join(errDeadLetter, err))
	}
}

var errDeadLetter = errors.New("the sidecar gave up delivering it and moved it to the dead-letter topic")

// open decodes a message and starts its span.
func (in *Inbox) open(ctx context.Context, m *Message) error {
	env, event, err := events.Decode(m.Payload)
	m.delivery = Delivery{ID: env.ID, Event: event, Trace: env.TraceParent, Time: env.Time}
	if err == nil && env.Type != m.Topic {
		err = fmt.Errorf("event type %q came on topic %q", env.Type, m.Topic)
	}
	if err != nil {
		return err
	}
	in.cfg.Timings.Arrival.ObserveIn(env.TraceParent, m.Topic, m.arrived.Sub(env.Time))
	m.span, m.delivery.Trace = telemetry.ProcessEvent(ctx, env.TraceParent, telemetry.Event{
		System: in.cfg.System, Topic: env.Type, ID: env.ID, Subject: env.Subject, Group: in.cfg.Consumer,
	})
	return nil
}

// giveUp parks an event that failed for good, or has it delivered again while that
// may be our fault.
func (in *Inbox) giveUp(ctx context.Context, m *Message, cause error) {
	if in.breaker.refuse(ctx, m.id(), m.Topic, cause, time.Now()) {
		in.cfg.Log.DebugContext(m.context(ctx), "event failed, will be delivered again", "event_id", m.id(), "topic", m.Topic, "order_id", m.order(), "err", cause)
		in.settle([]*Message{m}, Again)
		return
	}
	in.park(ctx, m, cause)
}

func (in *Inbox) settle(batch []*Message, v Verdict) {
	for _, m := range batch {
		m.Verdict = v
	}
	in.count.add(v, len(batch))
}

// apply handles a batch in one transaction. As a rule all of a batch is new, which
// one that does not ask takes for granted: its inbox rows travel with the commit. If
// one of them is there already, the transaction runs again, and asks.
func (in *Inbox) apply(ctx context.Context, batch []*Message, ask bool, limits pgtx.Limits) error {
	ctx, span := telemetry.StartBatch(ctx, "transaction of events", traces(batch))
	defer span.End()
	var fresh []Delivery
	var began time.Time
	err := in.cfg.Outbox.InTxWithin(ctx, limits, func(ctx context.Context, tx *outbox.Tx) (err error) {
		began = tx.Now
		fresh, err = in.effect(ctx, tx, batch, ask)
		ask = true
		return err
	})
	if err != nil {
		span.SetStatus(codes.Error, "undone")
	}
	if err == nil {
		duplicates := len(batch) - len(fresh)
		in.count.duplicates.Add(int64(duplicates))
		in.asking.Store(duplicates > 0)
		in.breaker.succeeded(ctx, fresh, time.Now())
		in.suspects.clear(batch)
		in.observe(batch, began)
	}
	return err
}

// traces are the trace contexts of what is done with the events of a batch.
func traces(batch []*Message) []string {
	all := make([]string, len(batch))
	for i, m := range batch {
		all[i] = m.delivery.Trace
	}
	return all
}

// observe notes how long events waited for a transaction that began then, and how long it took.
func (in *Inbox) observe(batch []*Message, began time.Time) {
	took := time.Since(began)
	for _, m := range batch {
		in.cfg.Timings.Wait.ObserveIn(m.delivery.Trace, m.Topic, began.Sub(m.arrived))
		in.cfg.Timings.Transaction.ObserveIn(m.delivery.Trace, m.Topic, took)
	}
	in.cfg.Timings.Batch.Observe("", len(batch))
}

// effect runs the handler on those of a batch that have had no effect yet, and
// returns these.
func (in *Inbox) effect(ctx context.Context, tx *outbox.Tx, batch []*Message, ask bool) (fresh []Delivery, err error) {
	deliveries, err := in.enter(ctx, tx, batch, ask)
	if err != nil || len(deliveries) == 0 {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if err := in.cfg.Handler(ctx, tx, deliveries); err != nil {
		return nil, fmt.Errorf("handle: %w", err)
	}
	return deliveries, nil
}

// enter adds the inbox rows and returns the deliveries that had none, each once.
func (in *Inbox) enter(ctx context.Context, tx *outbox.Tx, batch []*Message, ask bool) ([]Delivery, error) {
	fresh := make(map[uuid.UUID]struct{}, len(batch))
	for _, m := range batch {
		fresh[m.delivery.ID] = struct{}{}
	}
	ids := slices.Collect(maps.Keys(fresh))
	if ask {
		had, err := known(ctx, tx, in.cfg.Consumer, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range had {
			delete(fresh, id)
		}
		if len(fresh) == 0 {
			return nil, nil
		}
		ids = slices.Collect(maps.Keys(fresh))
	}
	insertAll(tx, in.cfg.Consumer, ids)
	noteLate(tx, ids, tx.Now)
	deliveries := make([]Delivery, 0, len(fresh))
	for _, m := range batch {
		if _, ok := fresh[m.delivery.ID]; ok {
			deliveries = append(deliveries, m.delivery)
			delete(fresh, m.delivery.ID) // the same id may stand in a batch twice
		}
	}
	return deliveries, nil
}

// context is ctx in the message's trace, for what is logged of it.
func (m *Message) context(ctx context.Context) context.Context {
	return telemetry.Within(ctx, m.delivery.Trace)
}

// order is what the message is about, or the nil UUID.
func (m *Message) order() uuid.UUID { return events.OrderOf(m.delivery.Event) }

// park keeps a message that cannot be handled. If even that fails, the message
// is delivered again.
func (in *Inbox) park(ctx context.Context, m *Message, cause error) {
	p := parkedOf(in.cfg.Consumer, m, cause)
	ctx, log := m.context(ctx), in.cfg.Log.With("event_id", p.EventID, "topic", p.Topic, "err", cause)
	if id := m.order(); id != uuid.Nil {
		log = log.With("order_id", id)
	}
	if err := insertParked(ctx, in.cfg.Pool, p); err != nil {
		log.ErrorContext(ctx, "event can neither be handled nor parked, will be delivered again", "park_err", err)
		in.settle([]*Message{m}, Again)
		return
	}
	in.count.parked.Add(1)
	in.recount()
	log.ErrorContext(ctx, "event parked: mend the cause, then replay it with quad parked replay")
	m.Verdict = Done
}
