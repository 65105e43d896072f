package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/pgtx"
)

const (
	relayers     = 16
	relayQueue   = 1_000
	relayMost    = 200 // found by a sweep at once
	relayEvery   = 500 * time.Millisecond
	relayTimeout = 10 * time.Second
	relayAfter   = 2 * time.Second  // before what was told counts as unheard
	relayAgain   = 5 * time.Second  // before it is told once more
	lostAfter    = 30 * time.Second // before a workflow in which nothing moves counts as lost
	wedgedAfter  = time.Minute      // before one that telling does not move is ended, to be begun anew
)

// relay tells Dapr what PostgreSQL knows: which orders want a workflow, which
// gates were decided and which compensations are to be resumed. What is told may
// be lost, and a workflow too, so it is told again until the order shows that it
// was heard. Hearing it twice does no harm: a workflow that runs is not started,
// one begun anew finds every step's verdict, and an event only says "look".
type relay struct {
	pool     *pgxpool.Pool
	client   *workflow.Client
	log      *slog.Logger
	attempts int
	queue    chan news
	told     map[news]time.Time // by the sweep, until it may be told again
	calm     time.Time          // since when sweeps have succeeded
}

// news is one thing to tell: a start, or else an event or endWedged.
type news struct {
	order uuid.UUID
	trace string
	event string
}

// endWedged tells Dapr to end a workflow.
const endWedged = "terminate"

// again is how long the sweep waits before it tells the same once more.
func (t news) again() time.Duration {
	if t.event == endWedged {
		return wedgedAfter // the next one gets as long as this one
	}
	return relayAgain
}

func newRelay(pool *pgxpool.Pool, c *workflow.Client, log *slog.Logger, attempts int) *relay {
	return &relay{
		pool: pool, client: c, log: log, attempts: attempts,
		queue: make(chan news, relayQueue), told: make(map[news]time.Time), calm: time.Now(),
	}
}

// start and poke tell at once, as far as there is room; the sweep tells the rest.
func (r *relay) start(o *Order) { r.offer(news{order: o.ID, trace: o.TraceParent}) }

func (r *relay) poke(order uuid.UUID, event string) { r.offer(news{order: order, event: event}) }

func (r *relay) offer(t news) {
	select {
	case r.queue <- t:
	default:
	}
}

// run tells until ctx ends.
func (r *relay) run(ctx context.Context) error {
	var all errgroup.Group
	for range relayers {
		all.Go(func() error { r.serve(ctx); return nil })
	}
	for pgtx.Sleep(ctx, relayEvery) == nil {
		if err := r.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "relay sweep failed, will try again", "err", err)
			r.calm = time.Now()
		}
	}
	return all.Wait()
}

func (r *relay) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-r.queue:
			if err := r.tell(ctx, t); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "workflow not told, will try again", "order_id", t.order, "event", t.event, "err", err)
			}
		}
	}
}

func (r *relay) tell(ctx context.Context, t news) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	switch t.event {
	case "":
	case endWedged:
		return r.end(ctx, t.order.String())
	default:
		return r.client.RaiseEvent(ctx, t.order.String(), t.event, workflow.WithEventPayload(struct{}{}))
	}
	_, err := r.client.ScheduleWorkflow(ctx, workflowName,
		workflow.WithInstanceID(t.order.String()),
		workflow.WithInput(Input{OrderID: t.order, TraceParent: t.trace, Attempts: r.attempts}),
		workflow.WithStartTime(time.Now())) // or the call would wait for a worker
	if err != nil && !alreadyRuns(err) {
		return err
	}
	return nil
}

// end ends a workflow and forgets its history, which the next one must not follow.
func (r *relay) end(ctx context.Context, id string) error {
	if err := r.client.TerminateWorkflow(ctx, id); err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	if _, err := r.client.WaitForWorkflowCompletion(ctx, id); err != nil {
		return fmt.Errorf("wait for its end: %w", err)
	}
	return wrap("purge", r.client.PurgeWorkflowState(ctx, id))
}

func alreadyRuns(err error) bool {
	return errors.Is(err, api.ErrDuplicateInstance) || status.Code(err) == codes.AlreadyExists
}

// sweep takes up what was not heard of.
func (r *relay) sweep(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	maps.DeleteFunc(r.told, func(t news, at time.Time) bool { return now.Sub(at) > t.again() })
	for _, find := range []func(context.Context, time.Time) ([]news, error){r.unstarted, r.unheard, r.lost, r.wedged} {
		found, err := find(ctx, now)
		if err != nil {
			return err
		}
		for _, t := range found {
			if _, lately := r.told[t]; !lately {
				r.told[t] = now
				r.offer(t)
			}
		}
	}
	return nil
}

// unstarted finds orders whose workflow has not begun.
func (r *relay) unstarted(ctx context.Context, now time.Time) ([]news, error) {
	return r.find(ctx, `
		select id, traceparent, '' from orders
		where ended_at is null and started_at is null and moved_at < $1
		order by moved_at limit $2`, now.Add(-relayAfter), relayMost)
}

// unheard finds gates whose decision the workflow has not seen.
func (r *relay) unheard(ctx context.Context, now time.Time) ([]news, error) {
	return r.find(ctx, `
		select id, '', $3 from gates
		where state <> 'open' and observed_at is null and decided_at < $1
		order by decided_at limit $2`, now.Add(-relayAfter), relayMost, eventApproval)
}

// late are the orders that should have moved by themselves before a time.
const late = `
	with late as (
		select o.id, o.traceparent, o.status
		from orders o left join gates g on g.id = o.id
		where o.ended_at is null and o.status <> 'compensation_failed'
		  and case o.status
			when 'awaiting_approval' then least(g.remind_at, g.escalate_at, g.expire_at, g.decided_at)
			else o.moved_at end < $1
		order by o.moved_at limit $2)`

// lost finds late orders. Their workflow is started, in case it is gone or has
// failed, and told to look, in case it waits.
func (r *relay) lost(ctx context.Context, now time.Time) ([]news, error) {
	return r.find(ctx, late+`
		select id, traceparent, '' from late
		union all
		select id, '', case status when 'awaiting_approval' then $3 else $4 end from late`,
		now.Add(-lostAfter), relayMost, eventApproval, eventResume)
}

// wedged finds those that all this has not moved. Dapr dispatches an activity before
// it saves that it did: should its store die in between, the activity's answer comes
// to a workflow that has not asked yet, which then waits for it for ever. Ended, such
// a workflow counts as lost, and is begun anew. After an outage all are late, and get
// the time to go on by themselves.
func (r *relay) wedged(ctx context.Context, now time.Time) ([]news, error) {
	if now.Sub(r.calm) < wedgedAfter {
		return nil, nil
	}
	return r.find(ctx, late+` select id, '', $3 from late`, now.Add(-wedgedAfter), relayMost, endWedged)
}

func (r *relay) find(ctx context.Context, sql string, args ...any) ([]news, error) {
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find untold: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t news, err error) {
		return t, row.Scan(&t.order, &t.trace, &t.event)
	})
	if err != nil {
		return nil, fmt.Errorf("find untold: %w", err)
	}
	return list, nil
}
