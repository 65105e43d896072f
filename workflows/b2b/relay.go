package b2b

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/telemetry"
)

const (
	relayers     = 16
	enders       = 2
	relayQueue   = 1_000
	dueQueue     = 200 // found by sweeps and not told yet
	endsQueue    = 4
	relayEvery   = 500 * time.Millisecond
	endEvery     = time.Second // between two ends of workflows, of all replicas together
	relayTimeout = 10 * time.Second
	sweepTimeout = 5 * time.Second
)

// relay tells Dapr what PostgreSQL knows: which orders want a workflow, which
// gates were decided and which compensations must be resumed. What is told may
// be lost, and a workflow too, so it is told again until the order shows that it
// was heard. Hearing it twice does no harm: a workflow that runs is not started,
// one started again finds every step's verdict, and an event only says "look".
//
// Each replica tells at once what its own requests changed. To tell it again is the
// leader's alone; see leader.go.
type relay struct {
	pool     *pgxpool.Pool
	client   *workflow.Client
	log      *slog.Logger
	attempts int
	holder   string // names this replica's relay
	queue    chan news
	due      chan dueOrder
	ends     chan dueOrder
	endEvery time.Duration
	count    relayStats
	// failing is since when the sidecar takes nothing, in Unix nanoseconds; 0 while it does.
	failing atomic.Int64
	// yields is set from giving up the lead to having it again; the sweep's own.
	yields bool
}

type relayStats struct{ told, failed, ended, leads atomic.Int64 }

// news is one thing to tell: a start, or else an event.
type news struct {
	order uuid.UUID
	trace string
	event string
}

func newRelay(pool *pgxpool.Pool, c *workflow.Client, log *slog.Logger, attempts int) *relay {
	return &relay{
		pool: pool, client: c, log: log, attempts: attempts, holder: uuid.NewString(),
		queue: make(chan news, relayQueue), due: make(chan dueOrder, dueQueue), ends: make(chan dueOrder, endsQueue),
		endEvery: endEvery,
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

// run tells until ctx ends. Ends have goroutines of their own: a start never waits
// behind one.
func (r *relay) run(ctx context.Context) error {
	var all errgroup.Group
	for range relayers {
		all.Go(func() error { r.serve(ctx); return nil })
	}
	turn := time.NewTicker(r.endEvery)
	defer turn.Stop()
	for range enders {
		all.Go(func() error { r.serveEnds(ctx, turn.C); return nil })
	}
	due := sweep.New(sweep.Config{Name: "relay", Every: relayEvery, Timeout: sweepTimeout, Log: r.log},
		func(ctx context.Context) (bool, error) { return r.takeDue(ctx, time.Now()) })
	all.Go(func() error { return due.Run(ctx) })
	err := all.Wait()
	r.resign(ctx)
	return err
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
		case d := <-r.due:
			r.tellAgain(ctx, d)
		}
	}
}

func (r *relay) serveEnds(ctx context.Context, turn <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn:
		}
		select {
		case d := <-r.ends:
			r.endWedged(ctx, d)
		default:
		}
	}
}

func (r *relay) tell(ctx context.Context, t news) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	err := r.send(ctx, t)
	if err != nil {
		r.count.failed.Add(1)
		r.failing.CompareAndSwap(0, time.Now().UnixNano())
		return err
	}
	r.count.told.Add(1)
	r.failing.Store(0)
	return nil
}

func (r *relay) send(ctx context.Context, t news) error {
	if t.event != "" {
		return wrap("raise "+t.event, r.client.RaiseEvent(ctx, t.order.String(), t.event, workflow.WithEventPayload(struct{}{})))
	}
	_, err := r.client.ScheduleWorkflow(ctx, workflowName,
		workflow.WithInstanceID(t.order.String()),
		workflow.WithInput(Input{OrderID: t.order, TraceParent: t.trace, Attempts: r.attempts}),
		workflow.WithStartTime(time.Now())) // or the call would wait for a worker
	if err != nil && !alreadyRuns(err) {
		return fmt.Errorf("start workflow: %w", err)
	}
	return nil
}

func alreadyRuns(err error) bool {
	return errors.Is(err, api.ErrDuplicateInstance) || status.Code(err) == codes.AlreadyExists
}

// gone reports whether there is no workflow to tell. Dapr says so in words only.
func gone(err error) bool {
	return status.Code(err) == codes.NotFound || err != nil && strings.Contains(err.Error(), api.ErrInstanceNotFound.Error())
}

// tellAgain tells a workflow all there is to tell, and notes when to look again.
func (r *relay) tellAgain(ctx context.Context, d dueOrder) {
	for _, t := range d.news() {
		err := r.tell(ctx, t)
		if gone(err) {
			// Lost, or begun on another engine. Started again, it looks for itself.
			err = r.tell(ctx, news{order: d.id, trace: d.trace})
		}
		if err != nil {
			if ctx.Err() == nil {
				r.log.WarnContext(ctx, "workflow not told, will try again", "order_id", d.id, "event", t.event, "told_count", d.told, "err", err)
			}
			r.note(ctx, d, untold)
			return
		}
	}
	r.note(ctx, d, told)
}

// endWedged ends a workflow, forgets its history, which the next one must not
// follow, and starts that. If this replica leads no more, or the order has moved
// since, it does nothing.
func (r *relay) endWedged(ctx context.Context, d dueOrder) {
	mine, err := r.confirm(ctx, d)
	if err != nil || !mine {
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "workflow not ended, will try again", "order_id", d.id, "err", err)
		}
		return
	}
	if err := r.end(ctx, d); err != nil {
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "workflow not ended, will be told again", "order_id", d.id, "err", err)
		}
		r.note(ctx, d, notEnded)
		return
	}
	r.count.ended.Add(1)
	r.log.WarnContext(ctx, "workflow ended and started again: telling it did not move its order",
		"order_id", d.id, "status", d.status, "told_count", d.told, "ends_count", d.ends+1)
	r.note(ctx, d, ended)
}

func (r *relay) end(ctx context.Context, d dueOrder) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	id := d.id.String()
	if err := r.client.TerminateWorkflow(ctx, id); err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	if _, err := r.client.WaitForWorkflowCompletion(ctx, id); err != nil {
		return fmt.Errorf("wait for its end: %w", err)
	}
	if err := r.client.PurgeWorkflowState(ctx, id); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return r.send(ctx, news{order: d.id, trace: d.trace})
}

func (r *relay) expose(m *telemetry.Metrics) {
	m.Gauge("relay_leads", "1 where this replica looks for what workflows did not hear.", r.count.leads.Load)
	m.Counter("relay_told_total", "Starts and events that Dapr took.", r.count.told.Load)
	m.Counter("relay_failed_total", "Starts and events that Dapr did not take at an attempt.", r.count.failed.Load)
	m.Counter("relay_ended_total", "Workflows ended and started again, since telling them did not move their orders.", r.count.ended.Load)
}
