package b2b

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

var orders = aggregate.NewTable[Order, uuid.UUID]("orders")

// worker carries out the saga's activities. Each is idempotent: a step that has
// ended answers with the verdict that was recorded.
type worker struct {
	pool      *pgxpool.Pool
	outbox    *outbox.Outbox
	inventory *inventory
	erp       *erp
	log       *slog.Logger
	took      *telemetry.Durations
}

const activityTimeout = 20 * time.Second

// registry names everything that may run: the list of what the saga can do.
//
// Orders wait for days, so the code must go on replaying every history that some
// order may have; those under testdata prove that it does. A change of what
// runOrder calls, or of the order of its calls, is made in one of two ways: behind
// ctx.IsPatched("name"), which is true for orders that come to it for the first
// time; or as a function of its own, added as the latest version beside this one,
// in which case an order ends with the version it began with. The first one has a
// version too: a history without one would follow the latest. A way that no order
// takes any more is removed once retention has purged the last history of it.
func (w *worker) registry() (*workflow.Registry, error) {
	r := workflow.NewRegistry()
	return r, errors.Join(r.AddVersionedWorkflowN(workflowName, "v1", true, runOrder), w.addActivities(r))
}

func (w *worker) addActivities(r *workflow.Registry) (err error) {
	add := func(name string, a workflow.Activity) { err = errors.Join(err, r.AddActivityN(name, a)) }
	add(stepCredit, activity(w, stepCredit, w.holdCredit))
	add(activityHear, activity(w, activityHear, w.hear))
	add(activityAdvance, activity(w, activityAdvance, w.advance))
	add(stepAllocate, activity(w, stepAllocate, w.allocate))
	add(stepERP, activity(w, stepERP, w.syncERP))
	add(undo(stepERP), activity(w, undo(stepERP), w.undoERP))
	add(undo(stepAllocate), activity(w, undo(stepAllocate), w.undoAllocate))
	add(undo(stepCredit), activity(w, undo(stepCredit), w.undoCredit))
	add(activityStuck, activity(w, activityStuck, w.stuck))
	add(activityEnd, activity(w, activityEnd, w.end))
	return err
}

// activity adapts a typed function: input, span, time-out, and a note of what went
// wrong on the order, where an operator finds it.
func activity[T any](w *worker, name string, run func(context.Context, Request) (T, error)) workflow.Activity {
	return func(ac workflow.ActivityContext) (any, error) {
		var req Request
		if err := ac.GetInput(&req); err != nil {
			return nil, fmt.Errorf("read input of %s: %w", name, err)
		}
		ctx, cancel := context.WithTimeout(ac.Context(), activityTimeout)
		defer cancel()
		span, _ := telemetry.StartSpan(ctx, req.TraceParent, "b2b "+name, trace.SpanKindInternal)
		defer span.End()
		ctx = trace.ContextWithSpan(ctx, span)
		began := time.Now()
		result, err := recovered(ctx, w.log, name, req, run)
		if err != nil {
			w.stumble(context.WithoutCancel(ctx), name, req, began, err)
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return result, nil
	}
}

// recovered turns a panic into a failed attempt. The engine does too, but tells neither
// where it was nor the order's operator.
func recovered[T any](ctx context.Context, log *slog.Logger, name string, req Request, run func(context.Context, Request) (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "activity panicked", "order_id", req.OrderID, "step", name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panicked: %v", p)
		}
	}()
	return run(ctx, req)
}

// stumble notes a failed attempt on the order.
func (w *worker) stumble(ctx context.Context, name string, req Request, began time.Time, cause error) {
	w.log.WarnContext(ctx, "activity failed, will be repeated", "order_id", req.OrderID, "step", name, "err", cause)
	ctx, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	err := w.update(ctx, req.OrderID, func(_ context.Context, tx *outbox.Tx, o *Order) error {
		o.Stumble(name, cause, began.UTC(), tx.Now)
		return nil
	})
	if err != nil {
		w.log.WarnContext(ctx, "failed attempt not noted", "order_id", req.OrderID, "step", name, "err", err)
	}
}

// update changes an order in a transaction.
func (w *worker) update(ctx context.Context, id uuid.UUID, change func(context.Context, *outbox.Tx, *Order) error) error {
	return w.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		o, err := loadOrder(ctx, tx, id)
		if err != nil {
			return err
		}
		underWay := !o.Final()
		if err := change(ctx, tx, o); err != nil {
			return err
		}
		if underWay && o.Final() {
			tx.AfterCommit(func() { w.took.ObserveIn(o.TraceParent, string(o.Status), o.EndedAt.Sub(o.SubmittedAt)) })
		}
		o.checkAgain(nil)
		return orders.Save(tx, map[uuid.UUID]*Order{id: o})
	})
}

// decider says how a step ends.
type decider func(context.Context, *outbox.Tx, *Order) (Verdict, error)

// settle ends a step with what decide says, once: a step that has ended keeps its
// verdict.
func (w *worker) settle(ctx context.Context, req Request, name string, began time.Time, decide decider) (v Verdict, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		v, err = settle(ctx, tx, o, name, began, decide)
		return err
	})
	return v, err
}

func settle(ctx context.Context, tx *outbox.Tx, o *Order, name string, began time.Time, decide decider) (Verdict, error) {
	if v, ended := o.Ended(name); ended {
		return v, nil
	}
	v, err := decide(ctx, tx, o)
	if err != nil {
		return Verdict{}, err
	}
	o.End(name, v, began.UTC(), tx.Now)
	return v, nil
}

func loadOrder(ctx context.Context, db aggregate.Querier, id uuid.UUID) (*Order, error) {
	found, err := orders.Load(ctx, db, []uuid.UUID{id})
	if err != nil {
		return nil, err
	}
	if found[id] == nil {
		return nil, fault.New(fault.NotFound, "order_not_found", "There is no such order.")
	}
	return found[id], nil
}

// moved reports whether a statement changed a row.
func moved(tag pgconn.CommandTag, err error) (bool, error) {
	return tag.RowsAffected() > 0, err
}

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
