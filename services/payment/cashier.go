package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/events"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/telemetry"
)

const (
	windows       = 64 // calls of the provider at once
	maxWaiting    = 2_000
	sweepEvery    = 250 * time.Millisecond
	sweepTimeout  = 5 * time.Second
	recordTimeout = 5 * time.Second
)

// cashier carries out what payments intend: it calls the provider outside any
// transaction and then records the outcome. Intentions come from memory right
// after their commit; the sweep takes up those that a crash, an overflow or a
// failed attempt left behind.
type cashier struct {
	outbox   *outbox.Outbox
	provider *provider
	log      *slog.Logger
	waiting  chan *Payment
	outcomes *group.Group[*outcome]
}

func newCashier(kit *service.Kit, p *provider) *cashier {
	c := &cashier{outbox: kit.Outbox, provider: p, log: kit.Log, waiting: make(chan *Payment, maxWaiting)}
	c.outcomes = group.New(group.Config{Workers: 1}, c.record)
	return c
}

// outcome is how one attempt ended: note tells the payment.
type outcome struct {
	id   uuid.UUID
	note func(p *Payment, now time.Time) events.Event
}

// offer hands intentions to the cashier as far as there is room.
func (c *cashier) offer(intended []*Payment) {
	for _, p := range intended {
		select {
		case c.waiting <- p:
		default:
			return // the sweep will find the others
		}
	}
}

// run works until ctx ends and the calls under way have.
func (c *cashier) run(ctx context.Context) error {
	var all errgroup.Group
	for range windows {
		all.Go(func() error { c.serve(ctx); return nil })
	}
	for pgtx.Sleep(ctx, sweepEvery) == nil {
		if err := c.sweep(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "sweep failed, will try again", "err", err)
		}
	}
	return all.Wait()
}

func (c *cashier) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-c.waiting:
			// Once begun, a call is seen through: its outcome is worth recording.
			c.attend(context.WithoutCancel(ctx), p)
		}
	}
}

// attend makes one attempt at what p intends and records how it ended.
func (c *cashier) attend(ctx context.Context, p *Payment) {
	if time.Until(*p.DueAt) < callTimeout {
		return // waited so long that the sweep may hand it to somebody else
	}
	span, traceParent := telemetry.StartSpan(ctx, p.TraceParent, "payment provider "+string(p.Status), trace.SpanKindClient)
	defer span.End()
	ctx = trace.ContextWithSpan(ctx, span)
	var note func(*Payment, time.Time) events.Event
	if p.Status == Refunding {
		note = c.refund(ctx, p)
	} else {
		note = c.charge(ctx, p)
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	o := &outcome{id: p.ID, note: func(p *Payment, now time.Time) events.Event {
		p.TraceParent = traceParent
		return note(p, now)
	}}
	if err := c.outcomes.Do(ctx, o); err != nil {
		c.log.WarnContext(ctx, "outcome not recorded, will ask the provider again", "order_id", p.ID, "err", err)
	}
}

func (c *cashier) charge(ctx context.Context, p *Payment) func(*Payment, time.Time) events.Event {
	id, err := c.provider.charge(ctx, p)
	if declined, ok := errors.AsType[*declinedError](err); ok {
		return func(p *Payment, now time.Time) events.Event { return p.Declined(declined.Reason, now) }
	}
	if err != nil {
		return c.postpone(ctx, p, err)
	}
	return func(p *Payment, now time.Time) events.Event { return p.Charged(id, now) }
}

func (c *cashier) refund(ctx context.Context, p *Payment) func(*Payment, time.Time) events.Event {
	id, err := c.provider.refund(ctx, p)
	if err != nil {
		return c.postpone(ctx, p, err)
	}
	return func(p *Payment, now time.Time) events.Event { return p.Returned(id, now) }
}

func (c *cashier) postpone(ctx context.Context, p *Payment, err error) func(*Payment, time.Time) events.Event {
	c.log.WarnContext(ctx, "provider gave no outcome, will try again",
		"order_id", p.ID, "intention", p.Status, "attempt", p.Attempts+1, "err", err)
	return func(p *Payment, now time.Time) events.Event {
		p.Postpone(err.Error(), now)
		return nil
	}
}

// record is the group's run function: it notes outcomes and announces them. A
// failure loses nothing, since the intentions become due again.
func (c *cashier) record(ctx context.Context, batch []*outcome) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	err := c.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		ids := make([]uuid.UUID, len(batch))
		for i, o := range batch {
			ids[i] = o.id
		}
		found, err := payments.Load(ctx, tx, ids)
		if err != nil {
			return err
		}
		var intended []*Payment
		for _, o := range batch {
			p := found[o.id]
			if e := o.note(p, tx.Now); e != nil {
				if err := tx.Emit(p.TraceParent, e); err != nil {
					return err
				}
			}
			if p.Status == Refunding && p.Attempts == 0 {
				intended = append(intended, p)
			}
		}
		tx.AfterCommit(func() { c.offer(intended) })
		return payments.Save(tx, found)
	})
	if err != nil {
		c.log.WarnContext(ctx, "outcomes not recorded, will ask the provider again", "payments", len(batch), "err", err)
	}
}

// sweep takes up intentions that are due, as many as there is room for and the
// provider can be asked. Replicas take different ones.
func (c *cashier) sweep(ctx context.Context) error {
	room := min(cap(c.waiting)-len(c.waiting), c.provider.open())
	if room == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	return c.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		rows, err := tx.Query(ctx, `
			update payments p set due_at = $1, version = version + 1
			from (select id from payments where due_at <= $2 order by due_at limit $3 for update skip locked) due
			where p.id = due.id
			returning p.*`, tx.Now.Add(lease), tx.Now, room)
		if err != nil {
			return err
		}
		due, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Payment])
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { c.offer(due) })
		return nil
	})
}
