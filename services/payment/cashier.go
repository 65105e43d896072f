package payment

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/events"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/telemetry"
)

const (
	// callSlots is how many calls of the provider may be under way; those that repeat a
	// failed one get no more than retrySlots, so that they never take all.
	callSlots  = 64
	retrySlots = 16
	// attended is how many intentions may be waiting for a call slot, under way or being
	// recorded: a slot is free again as soon as the provider has answered.
	attended      = 512
	maxWaiting    = 2_000
	sweepEvery    = 250 * time.Millisecond
	sweepTimeout  = 5 * time.Second
	recordTimeout = 5 * time.Second
)

// cashier carries out what payments intend: it calls the provider outside any
// transaction and then records the outcome. Intentions come from memory right
// after their commit; the sweep takes up those that a crash, an overflow, an
// outage or a failed attempt left behind.
type cashier struct {
	outbox   *outbox.Outbox
	provider *provider
	log      *slog.Logger
	// recordTimeout bounds the recording of an outcome, and the wait for it.
	recordTimeout time.Duration
	fresh         chan *Payment // not tried yet
	retries       chan *Payment
	slots         chan struct{}
	outcomes      *group.Group[*outcome]
	due           *sweep.Sweep
	books         *books
	steps         *telemetry.Durations // where the time of first attempts goes
}

func newCashier(kit *service.Kit, p *provider) *cashier {
	c := &cashier{
		outbox: kit.Outbox, provider: p, log: kit.Log, recordTimeout: recordTimeout, books: &books{pool: kit.Pool, outbox: kit.Outbox, api: kit.API, log: kit.Log},
		fresh: make(chan *Payment, maxWaiting), retries: make(chan *Payment, maxWaiting), slots: make(chan struct{}, callSlots),
	}
	c.outcomes = group.New(group.Config{Workers: 1}, c.record)
	c.due = sweep.New(sweep.Config{Name: "due payments", Every: sweepEvery, Timeout: sweepTimeout, Log: kit.Log},
		func(ctx context.Context) (bool, error) { return false, c.sweep(ctx) }) // it takes all that there is room for
	c.books.resumed = c.due.Wake
	return c
}

// note tells a payment how an attempt ended.
type note func(p *Payment, now time.Time) events.Event

type outcome struct {
	id       uuid.UUID
	note     note
	trace    string // of the attempt
	first    bool   // attempt
	answered time.Time
}

// room returns how many new intentions can be taken up at once. While the
// provider is away or on trial they are left to the sweep: what is not taken up is
// not sent, and void as soon as its order is cancelled.
func (c *cashier) room() int {
	if !c.provider.well() {
		return 0
	}
	return cap(c.fresh) - len(c.fresh)
}

// offer hands intentions that were taken up to those who carry them out, as far as
// there is room.
func (c *cashier) offer(taken []*Payment) {
	for _, p := range taken {
		queue := c.fresh
		if p.Attempts > 0 {
			queue = c.retries
		}
		select {
		case queue <- p:
		default: // the sweep will find it
		}
	}
}

// run works until ctx ends and the calls under way have.
func (c *cashier) run(ctx context.Context) error {
	var all errgroup.Group
	for n := range attended {
		retries := c.retries
		if n >= retrySlots {
			retries = nil // never ready
		}
		all.Go(func() error { c.serve(ctx, retries); return nil })
	}
	all.Go(func() error { return c.due.Run(ctx) })
	return all.Wait()
}

func (c *cashier) serve(ctx context.Context, retries <-chan *Payment) {
	for {
		var p *Payment
		select {
		case p = <-c.fresh: // first, if there are both
		default:
			select {
			case <-ctx.Done():
				return
			case p = <-c.fresh:
			case p = <-retries:
			}
		}
		select {
		case <-ctx.Done():
			return
		case c.slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			return
		}
		// Once begun, a call is seen through: its outcome is worth recording.
		c.attend(context.WithoutCancel(ctx), p, func() { <-c.slots })
	}
}

// attend makes one attempt at what p intends, calls answered when the provider has, and
// records how it ended.
func (c *cashier) attend(ctx context.Context, p *Payment, answered func()) {
	span, traceParent := telemetry.StartSpan(ctx, p.TraceParent, "payment provider "+string(p.Status), trace.SpanKindClient)
	defer span.End()
	ctx = trace.ContextWithSpan(ctx, span)
	var told note
	first, began := p.Attempts == 0 && !p.Cancelled, time.Now()
	if first {
		c.steps.ObserveIn(traceParent, "slot", began.Sub(*p.RequestedAt))
	}
	if time.Until(*p.DueAt) < callTimeout {
		told = c.unclear(ctx, p, &unsentError{cause: errWaitedTooLong})
	} else {
		told = c.attempt(ctx, p)
	}
	answered()
	ended := time.Now()
	if first {
		c.steps.ObserveIn(traceParent, "provider", ended.Sub(began))
	}
	ctx, cancel := context.WithTimeout(ctx, c.recordTimeout)
	defer cancel()
	o := &outcome{id: p.ID, trace: traceParent, first: first, answered: ended, note: func(p *Payment, now time.Time) events.Event {
		p.TraceParent = traceParent
		return told(p, now)
	}}
	if err := c.outcomes.Do(ctx, o); err != nil {
		c.log.WarnContext(ctx, "outcome not recorded, will ask the provider again", "order_id", p.ID, "err", err)
	}
}

// errWaitedTooLong ends an attempt whose lease may run out before the call does.
var errWaitedTooLong = errors.New("it waited too long for a free call slot")

// attempt asks the provider for what p intends.
func (c *cashier) attempt(ctx context.Context, p *Payment) note {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch {
	case p.Status == Refunding:
		id, err := c.provider.refund(ctx, p)
		if err != nil {
			return c.unclear(ctx, p, err)
		}
		return func(p *Payment, now time.Time) events.Event { return p.Returned(id, now) }
	case p.Cancelled:
		return c.settle(ctx, p)
	default:
		id, err := c.provider.charge(ctx, p)
		return c.answer(ctx, p, id, err)
	}
}

// settle asks what became of the charge of an order that is cancelled: what was
// made is refunded, what was not is prevented.
func (c *cashier) settle(ctx context.Context, p *Payment) note {
	id, err := c.provider.find(ctx, p)
	if err == nil && id == "" {
		id, err = c.provider.prevent(ctx, p)
	}
	return c.answer(ctx, p, id, err)
}

// answer notes how a charge ended.
func (c *cashier) answer(ctx context.Context, p *Payment, id string, err error) note {
	if declined, ok := errors.AsType[*declinedError](err); ok {
		return func(p *Payment, now time.Time) events.Event { return p.Declined(declined.Reason, now) }
	}
	if errors.Is(err, errPrevented) && p.Cancelled {
		return func(p *Payment, now time.Time) events.Event { p.NotCharged(now); return nil }
	}
	if err != nil {
		return c.unclear(ctx, p, err)
	}
	return func(p *Payment, now time.Time) events.Event { return p.Charged(id, now) }
}

// unclear notes an attempt that ended without the outcome that was asked for.
func (c *cashier) unclear(ctx context.Context, p *Payment, err error) note {
	a, cause := p.attempt(), err.Error()
	log := c.log.With("order_id", p.ID, "intention", p.Status, "attempt", p.Attempts+1, "err", cause)
	if unsent, ok := errors.AsType[*unsentError](err); ok {
		log.DebugContext(ctx, "provider not reached, will try again")
		return func(p *Payment, now time.Time) events.Event {
			p.Unsent(a, unsent.tried, cause, now)
			return nil
		}
	}
	if refused, ok := errors.AsType[*refusedError](err); ok && !refused.passing() {
		log.ErrorContext(ctx, "provider refuses the payment, it waits for an operator: quad payment list")
		return func(p *Payment, now time.Time) events.Event { p.Refuse(a, cause, now); return nil }
	}
	log.WarnContext(ctx, "provider gave no outcome, will try again")
	wait := retryAfter(err)
	return func(p *Payment, now time.Time) events.Event { p.Postpone(a, cause, wait, now); return nil }
}

// record is the group's run function: it notes outcomes and announces them. A
// failure loses nothing, since the intentions become due again.
func (c *cashier) record(ctx context.Context, batch []*outcome) {
	ctx, cancel := context.WithTimeout(ctx, c.recordTimeout)
	defer cancel()
	traces := make([]string, len(batch))
	for i, o := range batch {
		traces[i] = o.trace
	}
	ctx, span := telemetry.StartBatch(ctx, "transaction of outcomes", traces)
	defer span.End()
	var began time.Time
	err := c.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		began = tx.Now
		ids := make([]uuid.UUID, len(batch))
		for i, o := range batch {
			ids[i] = o.id
		}
		found, err := payments.Load(ctx, tx, ids)
		if err != nil {
			return err
		}
		var taken []*Payment
		room := c.room()
		for _, o := range batch {
			p := found[o.id]
			before := p.Status
			if e := o.note(p, tx.Now); e != nil {
				if err := tx.Emit(p.TraceParent, e); err != nil {
					return err
				}
			}
			if p.Status == Refunding && before != Refunding && room > len(taken) {
				p.TakeUp(tx.Now)
				taken = append(taken, p)
			}
		}
		tx.AfterCommit(func() { c.offer(taken) })
		return payments.Save(tx, found)
	})
	if err != nil {
		c.log.WarnContext(ctx, "outcomes not recorded, will ask the provider again", "payments", len(batch), "err", err)
		return
	}
	for _, o := range batch {
		if o.first {
			c.steps.ObserveIn(o.trace, "outcome", began.Sub(o.answered))
		}
	}
}
