package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

var orders = aggregate.NewTable[Order]("orders")

// worker carries out the saga's activities. Each is idempotent: a step that has
// ended answers with the verdict that was recorded.
type worker struct {
	pool      *pgxpool.Pool
	outbox    *outbox.Outbox
	inventory *inventory
	erp       *erp
	log       *slog.Logger
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
	err := r.AddVersionedWorkflowN(workflowName, "v1", true, runOrder)
	add := func(name string, a workflow.Activity) { err = errors.Join(err, r.AddActivityN(name, a)) }
	add(stepCredit, activity(w, stepCredit, w.holdCredit))
	add(activityHear, activity(w, activityHear, w.hear))
	add(activityAdvance, activity(w, activityAdvance, w.advance))
	add(stepAllocate, activity(w, stepAllocate, w.allocate))
	add(stepERP, activity(w, stepERP, w.syncERP))
	add(stepConfirm, activity(w, stepConfirm, w.confirm))
	add(undo(stepERP), activity(w, undo(stepERP), w.undoERP))
	add(undo(stepAllocate), activity(w, undo(stepAllocate), w.undoAllocate))
	add(undo(stepCredit), activity(w, undo(stepCredit), w.undoCredit))
	add(activityStuck, activity(w, activityStuck, w.stuck))
	add(activityEnd, activity(w, activityEnd, w.end))
	return r, err
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
		result, err := run(ctx, req)
		if err != nil {
			w.stumble(context.WithoutCancel(ctx), name, req, err)
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return result, nil
	}
}

// stumble notes a failed attempt on the order.
func (w *worker) stumble(ctx context.Context, name string, req Request, cause error) {
	w.log.WarnContext(ctx, "activity failed, will be repeated", "order_id", req.OrderID, "step", name, "err", cause)
	ctx, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	err := w.update(ctx, req.OrderID, func(_ context.Context, tx *outbox.Tx, o *Order) error {
		o.Stumble(name, cause, tx.Now)
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
		if err := change(ctx, tx, o); err != nil {
			return err
		}
		return orders.Save(tx, map[uuid.UUID]*Order{id: o})
	})
}

// decider says how a step ends.
type decider func(context.Context, *outbox.Tx, *Order) (Verdict, error)

// settle ends a step with what decide says, once: a step that has ended keeps its
// verdict.
func (w *worker) settle(ctx context.Context, req Request, name string, decide decider) (v Verdict, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		v, err = settle(ctx, tx, o, name, decide)
		return err
	})
	return v, err
}

func settle(ctx context.Context, tx *outbox.Tx, o *Order, name string, decide decider) (Verdict, error) {
	if v, ended := o.Ended(name); ended {
		return v, nil
	}
	v, err := decide(ctx, tx, o)
	if err != nil {
		return Verdict{}, err
	}
	o.End(name, v, tx.Now)
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

// holdCredit holds the order's credit and opens its gate. Both are ours and quick:
// an activity each would cost more than it does.
func (w *worker) holdCredit(ctx context.Context, req Request) (view GateView, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		v, err := settle(ctx, tx, o, stepCredit, decideCredit)
		if err != nil || !v.OK {
			view = GateView{Verdict: &v}
			return err
		}
		view, err = openGate(ctx, tx, o)
		return err
	})
	return view, err
}

func decideCredit(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
	o.StartedAt = &tx.Now
	if o.CancelAsked {
		return cancelledByCustomer, nil
	}
	held, err := holdCredit(ctx, tx, o.CompanyID, o.Amount)
	if err != nil {
		return Verdict{}, err
	}
	if !held {
		return refused(Rejected, reasonCredit, "The order would exceed the company's credit limit."), nil
	}
	o.Credit = CreditHeld
	return fine, nil
}

// lookAtGate tells the workflow how the gate stands.
func (w *worker) lookAtGate(ctx context.Context, req Request) (view GateView, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		view, err = openGate(ctx, tx, o)
		return err
	})
	return view, err
}

// openGate opens the approval gate, or passes an order that needs no approval, and
// returns how it stands.
func openGate(ctx context.Context, tx *outbox.Tx, o *Order) (GateView, error) {
	if v, ended := o.Ended(stepApproval); ended {
		return GateView{Verdict: &v}, nil
	}
	found, err := gates.Load(ctx, tx, []uuid.UUID{o.ID})
	if err != nil {
		return GateView{}, err
	}
	if g := found[o.ID]; g != nil {
		// Decided before the customer cancelled, it stays decided.
		return closeStep(tx, o, g)
	}
	if o.CancelAsked {
		o.End(stepApproval, cancelledByCustomer, tx.Now)
		return GateView{Verdict: &cancelledByCustomer}, nil
	}
	company, err := loadCompany(ctx, tx, o.CompanyID)
	if err != nil {
		return GateView{}, err
	}
	p := company.Policy
	need := p.Need(o.Amount)
	if need == 0 {
		o.Status = Approved
		o.End(stepApproval, fine, tx.Now)
		return GateView{Verdict: &Verdict{OK: true}}, nil
	}
	level := p.FirstLevel(o.Amount, o.OrderedBy, need)
	if level == 0 {
		v := refused(Rejected, reasonNoApprover, "The company's policy names too few approvers who may decide on this order.")
		o.End(stepApproval, v, tx.Now)
		return GateView{Verdict: &v}, nil
	}
	b := &ballot{gate: newGate(o, p, need, level, tx.Now), order: o, policy: p}
	if err := tx.Emit(o.TraceParent, b.request(false)); err != nil {
		return GateView{}, err
	}
	o.Status = AwaitingApproval
	o.step(stepApproval, tx.Now)
	return b.gate.view(tx.Now), gates.Save(tx, map[uuid.UUID]*Gate{o.ID: b.gate})
}

// closeStep ends the approval step if the gate is decided.
func closeStep(tx *outbox.Tx, o *Order, g *Gate) (GateView, error) {
	view := g.view(tx.Now)
	if view.Verdict == nil {
		return view, nil
	}
	if view.Verdict.OK {
		o.Status = Approved
	}
	o.End(stepApproval, *view.Verdict, tx.Now)
	return view, gates.Save(tx, map[uuid.UUID]*Gate{g.ID: g})
}

// hear looks at the gate after an external event. An event that is itself a vote,
// raised through Dapr instead of our API, is cast with the same checks; one that
// may not be cast is noted and changes nothing.
func (w *worker) hear(ctx context.Context, req Request) (GateView, error) {
	var v Vote
	if json.Unmarshal(req.Event, &v) == nil && v.Approver != "" {
		err := w.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
			_, err := cast(ctx, tx, req.OrderID, v, "dapr")
			return err
		})
		if f, ok := errors.AsType[*fault.Fault](err); ok && f.Kind != fault.Internal {
			w.log.WarnContext(ctx, "raised decision refused", "order_id", req.OrderID, "code", f.Code, "err", err)
		} else if err != nil {
			return GateView{}, err
		}
	}
	return w.lookAtGate(ctx, req)
}

// advance lets the gate do what is due by now.
func (w *worker) advance(ctx context.Context, req Request) (GateView, error) {
	err := w.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		return advance(ctx, tx, req.OrderID)
	})
	if err != nil {
		return GateView{}, err
	}
	return w.lookAtGate(ctx, req)
}

func (w *worker) allocate(ctx context.Context, req Request) (Verdict, error) {
	o, v, err := w.begin(ctx, req, stepAllocate)
	if v != nil || err != nil {
		return deref(v), err
	}
	company, err := loadCompany(ctx, w.pool, o.CompanyID)
	if err != nil {
		return Verdict{}, err
	}
	allocations, shortages, err := w.inventory.allocate(ctx, o, company.Warehouses)
	if err != nil {
		return Verdict{}, err
	}
	return w.settle(ctx, req, stepAllocate, func(_ context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		if len(allocations) == 0 {
			return refused(Rejected, events.ReasonOutOfStock, "The warehouses have too little of what was ordered."), nil
		}
		o.Allocations, o.Shortages, o.Status = allocations, shortages, Allocated
		return fine, tx.Emit(o.TraceParent, &events.B2BOrderAllocated{
			Subject: o.subject(), CompanyID: o.CompanyID, Allocations: allocations, Backorders: shortages,
		})
	})
}

// begin returns the order for a step that calls others, or the step's verdict if
// it has one already. A cancellation stops the order here.
func (w *worker) begin(ctx context.Context, req Request, name string) (*Order, *Verdict, error) {
	o, err := loadOrder(ctx, w.pool, req.OrderID)
	if err != nil {
		return nil, nil, err
	}
	if v, ended := o.Ended(name); ended {
		return o, &v, nil
	}
	if o.CancelAsked {
		return o, &cancelledByCustomer, nil
	}
	return o, nil, nil
}

func deref(v *Verdict) Verdict {
	if v == nil {
		return Verdict{}
	}
	return *v
}

func (w *worker) syncERP(ctx context.Context, req Request) (Verdict, error) {
	o, v, err := w.begin(ctx, req, stepERP)
	if v != nil || err != nil {
		return deref(v), err
	}
	id, err := w.erp.create(ctx, o)
	rejected, isRejected := errors.AsType[*rejectedError](err)
	if err != nil && !isRejected {
		return Verdict{}, err
	}
	return w.settle(ctx, req, stepERP, func(_ context.Context, _ *outbox.Tx, o *Order) (Verdict, error) {
		if isRejected {
			return refused(Failed, reasonERP, rejected.message), nil
		}
		o.ERPOrderID, o.Status = id, Synced
		return fine, nil
	})
}

// confirm completes the order, unless its cancellation was asked for before.
func (w *worker) confirm(ctx context.Context, req Request) (Verdict, error) {
	return w.settle(ctx, req, stepConfirm, func(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		if o.CancelAsked {
			return cancelledByCustomer, nil
		}
		if err := useCredit(ctx, tx, o.CompanyID, o.Amount); err != nil {
			return Verdict{}, err
		}
		o.Status, o.Credit, o.EndedAt = Completed, CreditUsed, &tx.Now
		return fine, errors.Join(
			tx.Emit(o.TraceParent, &events.OrderConfirmed{Subject: o.subject(), CustomerID: o.CompanyID, Total: o.total()}),
			tx.Emit(o.TraceParent, &events.B2BOrderCompleted{Subject: o.subject(), CompanyID: o.CompanyID, Total: o.total(), ERPOrderID: o.ERPOrderID}))
	})
}

func (w *worker) undoERP(ctx context.Context, req Request) (Verdict, error) {
	return w.compensate(ctx, req, stepERP, w.erp.cancel)
}

func (w *worker) undoAllocate(ctx context.Context, req Request) (Verdict, error) {
	return w.compensate(ctx, req, stepAllocate, w.inventory.release)
}

// compensate undoes a step outside, whether or not it is known to have had its
// effect, and notes that.
func (w *worker) compensate(ctx context.Context, req Request, step string, undoIt func(context.Context, *Order) error) (Verdict, error) {
	o, err := w.abandon(ctx, req, step)
	if err != nil {
		return Verdict{}, err
	}
	if v, ended := o.Ended(undo(step)); ended {
		return v, nil
	}
	if err := undoIt(ctx, o); err != nil {
		return Verdict{}, err
	}
	return w.settle(ctx, req, undo(step), func(context.Context, *outbox.Tx, *Order) (Verdict, error) { return fine, nil })
}

// abandon ends the step that is undone, before anything outside is.
func (w *worker) abandon(ctx context.Context, req Request, step string) (abandoned *Order, err error) {
	err = w.update(ctx, req.OrderID, func(_ context.Context, tx *outbox.Tx, o *Order) error {
		abandoned = o
		if _, ended := o.Ended(undo(step)); ended {
			return nil
		}
		if o.Status != CompensationFailed { // which only a resume leads out of
			o.Status = Undoing
		}
		o.Abandon(step, *req.Verdict, tx.Now)
		return nil
	})
	return abandoned, err
}

func (w *worker) undoCredit(ctx context.Context, req Request) (Verdict, error) {
	return w.settle(ctx, req, undo(stepCredit), func(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		if o.Credit != CreditHeld {
			return fine, nil
		}
		o.Status, o.Credit = Undoing, CreditReleased
		return fine, releaseCredit(ctx, tx, o.CompanyID, o.Amount)
	})
}

// stuck shows that a compensation keeps failing, until somebody resumes it.
func (w *worker) stuck(ctx context.Context, req Request) (Verdict, error) {
	err := w.update(ctx, req.OrderID, func(_ context.Context, tx *outbox.Tx, o *Order) error {
		if _, undone := o.Ended(req.Step); undone {
			return nil // told late
		}
		o.Status, o.MovedAt = CompensationFailed, tx.Now
		o.Reason = &events.Reason{Code: string(CompensationFailed), Message: req.Step + " keeps failing: " + req.Cause}
		return nil
	})
	return fine, err
}

// end notifies of an order that did not go through, with the reason.
func (w *worker) end(ctx context.Context, req Request) (Verdict, error) {
	why := *req.Verdict
	return w.settle(ctx, req, activityEnd, func(_ context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		o.Status, o.Reason, o.EndedAt = why.Final, why.Reason, &tx.Now
		if why.Final == Rejected {
			return why, tx.Emit(o.TraceParent, &events.B2BOrderRejected{Subject: o.subject(), CompanyID: o.CompanyID, Reason: *why.Reason})
		}
		return why, tx.Emit(o.TraceParent, &events.B2BOrderFailed{Subject: o.subject(), CompanyID: o.CompanyID, Status: string(why.Final), Reason: *why.Reason})
	})
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
