// Package outbox publishes events that were committed with the change that
// caused them: none is lost, whenever the process dies, and none is published
// of a change that was rolled back.
//
// InTx commits the rows. What it committed is published straight away from
// memory, in bulk, and removed from the table lazily. Whatever does not get that
// far (the process died, the broker was away, memory was full) is recovered
// from the table in commit order once its lease has run out, by any replica. An
// event may so be published twice, always under the same id.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/events"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/telemetry"
)

// Message is one outbox row.
type Message struct {
	// ID is the CloudEvents id.
	ID uuid.UUID
	// Topic is the event type.
	Topic string
	// Key is the partition key: the order id.
	Key string
	// Payload is the CloudEvent, in JSON, as it is published.
	Payload []byte

	xid       int64
	refused   int16      // as in the table
	committed time.Time  // zero where it comes from the table
	trace     string     // W3C trace context of its creation; "" where it comes from the table
	created   trace.Span // until the commit; nil where the trace is not recorded
}

// alone reports whether the broker refused the message while it took others of its
// topic, so that it must not hold these up.
func (m Message) alone() bool { return m.refused > 1 }

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish publishes messages of one topic and reports, by id, those that the
	// broker did not take, or nil with an error where none was taken. What it does
	// not report may be forgotten. An error wraps ErrTopicRefused, ErrAway or ErrNotNow if
	// it is known to be that; if it is not, the outbox finds out by itself.
	Publish(ctx context.Context, topic string, batch []Message) (failed []uuid.UUID, err error)
}

// Config of an Outbox. Zero durations and sizes mean the defaults.
type Config struct {
	// Source is the CloudEvents source: the service's name.
	Source string
	// System is what carries the events, as spans name it.
	System string
	// Emits are the types that the service may emit.
	Emits []string
	// Heard reports whether anyone may hear a type. An event that nobody can hear is not
	// kept. nil means that all are.
	Heard     func(eventType string) bool
	Pool      *pgxpool.Pool
	Publisher Publisher
	Log       *slog.Logger
	Timings   Timings
	// Lease is how long a row belongs to the process that wrote or claimed it. Longer than
	// a publish call may take. Default 5 s.
	Lease time.Duration
	// Poll is how often the table is searched for rows left behind. Default 1 s.
	Poll time.Duration
	// MaxQueued bounds the messages in memory; those above are left to recovery.
	// Default 8,000: about as many as are published within a lease.
	MaxQueued int
	// MaxQueuedBytes bounds their payloads likewise, but for one message more, so
	// that one of any size goes out. Default 32 MiB.
	MaxQueuedBytes int
	// Parallel is how many calls for one topic are under way at a time. Default 1, so that
	// batches grow with the load and a topic keeps its order while nothing fails.
	Parallel int
	// PublishTimeout bounds a publish call. Default 4 s.
	PublishTimeout time.Duration
	// Drain bounds the publishing of what is committed, at the end. Default 4 s.
	Drain time.Duration
	// BySlot says that the reader of a replication slot publishes instead: Debezium, for
	// example. The slot is called audit.SlotPrefix and the database. As long as it is there,
	// nothing is published from here but what it may have missed, and what its reader has
	// published is deleted.
	BySlot bool
}

// Timings say by topic where the time of events goes; those that are nil are not kept.
// Commit, Queue and Publish are without events that come from the table.
type Timings struct {
	// Commit is from an event's time, the start of its transaction, to the commit.
	Commit *telemetry.Durations
	// Queue is from the commit to the publish call.
	Queue *telemetry.Durations
	// Publish is the publish call.
	Publish *telemetry.Durations
	// Call is the same, once for each call: batches, and not events.
	Call *telemetry.Durations
	// Lag is from an event's beginning to when the broker had taken it, also for those that
	// come from the table.
	Lag *telemetry.Durations
	// Batch is the number of events in a publish call.
	Batch *telemetry.Sizes
}

// NewTimings exposes timings.
func NewTimings(m *telemetry.Metrics) Timings {
	return Timings{
		Commit:  m.Durations("outbox_commit_seconds", "topic", "From an event's time, the start of its transaction, to the commit."),
		Queue:   m.Durations("outbox_queue_seconds", "topic", "From an event's commit to the publish call."),
		Publish: m.Durations("outbox_publish_seconds", "topic", "The publish call that an event was in."),
		Call:    m.Durations("outbox_call_seconds", "topic", "A publish call, of a batch of events."),
		Lag:     m.Durations("outbox_lag_seconds", "topic", "From an event's beginning to when the broker had taken it, also from the table."),
		Batch:   m.Sizes("outbox_batch_size", "topic", "Events in a publish call."),
	}
}

func (c Config) withDefaults() Config {
	if c.Lease == 0 {
		c.Lease = 5 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.MaxQueued == 0 {
		c.MaxQueued = 8_000
	}
	if c.MaxQueuedBytes == 0 {
		c.MaxQueuedBytes = 32 << 20
	}
	if c.Parallel == 0 {
		c.Parallel = 1
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = 4 * time.Second
	}
	if c.Drain == 0 {
		c.Drain = 4 * time.Second
	}
	return c
}

// Outbox is one service's outbox. Run must be running for it to publish.
type Outbox struct {
	cfg        Config
	queue      *queue
	settlement *settlement
	count      counters
	backlog    atomic.Pointer[Backlog]
	slot       *slotWatch // nil without Config.BySlot
}

// New returns an Outbox over the table that package schema creates.
func New(cfg Config) *Outbox {
	cfg = cfg.withDefaults()
	o := &Outbox{
		cfg: cfg, queue: newQueue(cfg.MaxQueued, cfg.MaxQueuedBytes, cfg.Parallel), settlement: newSettlement(cfg.Pool, cfg.Lease),
	}
	if cfg.BySlot {
		o.slot = newSlotWatch(cfg)
	}
	return o
}

// Tx is a transaction that also collects the events it causes.
type Tx struct {
	*pgtx.Tx
	// Now is the one time of this transaction.
	Now time.Time

	source  string
	system  string
	emits   []string
	heard   func(string) bool
	pending []Message
	after   []func()
}

// AfterCommit has f called once the transaction is committed, and not at all if
// it is not, or if the process dies first.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Emit adds an event to what the transaction commits. traceParent is the W3C
// trace context of its cause. A type that is not among Config.Emits is an error: the
// broker would not take it from this service.
//
//nolint:contextcheck // traceParent says what the trace is
func (tx *Tx) Emit(traceParent string, e events.Event) error {
	if !slices.Contains(tx.emits, e.Type()) {
		return &pgtx.ProgramError{Err: fmt.Errorf("%s emits %s, which is not among Emits of its service.Spec: add it there and run quad generate",
			tx.source, e.Type())}
	}
	if tx.heard != nil && !tx.heard(e.Type()) {
		return e.Validate()
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("new event id: %w", err)
	}
	created, traceParent := telemetry.CreateEvent(context.Background(), traceParent,
		telemetry.Event{System: tx.system, Topic: e.Type(), ID: id, Subject: e.Subject()})
	payload, err := events.Encode(id, tx.source, tx.Now, traceParent, e)
	if err != nil {
		return err
	}
	tx.pending = append(tx.pending, Message{ID: id, Topic: e.Type(), Key: e.Key(), Payload: payload, trace: traceParent, created: created})
	return nil
}

// InTx runs fn in a transaction, commits it together with the events fn emits
// and hands these on for publishing. fn may run several times (see pgtx.Run).
func (o *Outbox) InTx(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return o.InTxWithin(ctx, pgtx.Limits{}, fn)
}

// InTxWithin is InTx with limits.
func (o *Outbox) InTxWithin(ctx context.Context, limits pgtx.Limits, fn func(context.Context, *Tx) error) error {
	var done *Tx
	err := pgtx.RunWithin(ctx, o.cfg.Pool, limits, func(ctx context.Context, tx *pgtx.Tx) error {
		t := &Tx{Tx: tx, Now: time.Now().UTC().Truncate(time.Microsecond), source: o.cfg.Source, system: o.cfg.System, emits: o.cfg.Emits, heard: o.cfg.Heard}
		if err := fn(ctx, t); err != nil {
			return err
		}
		done = t
		insert(tx, t.pending, o.cfg.Lease)
		return nil
	})
	if err != nil {
		return err
	}
	committed := time.Now()
	for i := range done.pending {
		m := &done.pending[i]
		m.committed = committed
		if m.created != nil {
			m.created.End()
			m.created = nil
		}
		o.cfg.Timings.Commit.ObserveIn(m.trace, m.Topic, committed.Sub(done.Now))
	}
	if !o.slot.publishes() {
		o.offer(done.pending)
	}
	for _, f := range done.after {
		f()
	}
	return nil
}

// offer queues committed messages for publishing. Those that do not fit stay in
// the table for recovery.
func (o *Outbox) offer(batch []Message) {
	if left := o.queue.push(batch); left > 0 {
		o.count.deferred.Add(int64(left))
	}
}

// Run publishes until ctx ends, then publishes what is committed, for as long
// as Config.Drain. Rows it does not manage are recovered after the next start.
func (o *Outbox) Run(ctx context.Context) error {
	// Publishing outlives ctx: it ends when the queue is closed and empty.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var publishing errgroup.Group
	for range publishers * o.cfg.Parallel {
		publishing.Go(func() error { o.publish(work); return nil })
	}
	var settling, looking errgroup.Group
	settling.Go(func() error { o.settlement.run(work, o.cfg.Log); return nil })
	looking.Go(func() error { o.strandedLoop(ctx); return nil })
	if o.slot != nil {
		looking.Go(func() error { o.slot.run(ctx); return nil })
	}

	o.recoverLoop(ctx)
	_ = looking.Wait() // nobody fails here: it is logged and tried again

	o.queue.close()
	stop := time.AfterFunc(o.cfg.Drain, cancel)
	defer stop.Stop()
	_ = publishing.Wait()
	o.settlement.close()
	_ = settling.Wait()
	return nil
}
