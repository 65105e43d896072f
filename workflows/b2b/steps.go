package b2b

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
)

// Steps of our own that follow each other share an activity, and a step that calls
// others shares one with those of our own beside it: a way to the worker and back,
// with its checkpoints, costs more than the steps do. Each keeps its verdict all the
// same, so it does not matter which of them a crash leaves to be done again.

// holdCredit holds the order's credit and opens its gate.
func (w *worker) holdCredit(ctx context.Context, req Request) (view GateView, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		v, err := settle(ctx, tx, o, stepCredit, tx.Now, decideCredit)
		if err != nil || !v.OK {
			view = GateView{Verdict: &v}
			return err
		}
		view, err = openGate(ctx, tx, o)
		return err
	})
	return w.onward(ctx, req, view), err
}

func decideCredit(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
	o.StartedAt = &tx.Now
	if o.CancelAsked {
		return cancelledByCustomer, nil
	}
	amount := o.Amount
	held, err := holdCredit(ctx, tx, o.CompanyID, amount)
	if err != nil {
		return Verdict{}, err
	}
	if !held {
		return refused(Rejected, reasonCredit, "The order would exceed the company's credit limit."), nil
	}
	o.Credit, o.CreditAmount = CreditHeld, &amount
	return fine, nil
}

// lookAtGate tells the workflow how the gate stands.
func (w *worker) lookAtGate(ctx context.Context, req Request) (view GateView, err error) {
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) error {
		view, err = openGate(ctx, tx, o)
		return err
	})
	return w.onward(ctx, req, view), err
}

// onward takes the step behind the gate at once if that is passed. A failure is
// noted, and not the gate's: the workflow has the step tried again, as often as it
// may be.
func (w *worker) onward(ctx context.Context, req Request, view GateView) GateView {
	if view.Verdict == nil || !view.Verdict.OK {
		return view
	}
	began := time.Now()
	v, err := recovered(ctx, w.log, stepAllocate, req, w.allocate)
	if err != nil {
		w.stumble(context.WithoutCancel(ctx), stepAllocate, req, began, err)
		return view
	}
	view.Allocated = &v
	return view
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
		o.End(stepApproval, cancelledByCustomer, tx.Now, tx.Now)
		return GateView{Verdict: &cancelledByCustomer}, nil
	}
	company, err := loadCompany(ctx, tx, o.CompanyID)
	if err != nil {
		return GateView{}, err
	}
	p := Policy(company.Policy)
	need := p.Need(o.Amount)
	if need == 0 {
		o.Status = Approved
		o.End(stepApproval, fine, tx.Now, tx.Now)
		return GateView{Verdict: &Verdict{OK: true}}, nil
	}
	level := p.FirstLevel(o.Amount, o.OrderedBy, need)
	if level == 0 {
		v := refused(Rejected, reasonNoApprover, "The company's policy names too few approvers who may decide on this order.")
		o.End(stepApproval, v, tx.Now, tx.Now)
		return GateView{Verdict: &v}, nil
	}
	b := &ballot{gate: newGate(o, p, need, level, tx.Now), order: o, policy: p}
	if err := tx.Emit(o.TraceParent, b.request(false)); err != nil {
		return GateView{}, err
	}
	o.Status = AwaitingApproval
	o.step(stepApproval, tx.Now)
	o.checkAgain(b.gate)
	return b.gate.view(tx.Now), gates.Save(tx, map[uuid.UUID]*Gate{o.ID: b.gate})
}

// closeStep ends the approval step if the gate is decided.
func closeStep(tx *outbox.Tx, o *Order, g *Gate) (GateView, error) {
	view := g.view(tx.Now)
	o.checkAgain(g)
	if view.Verdict == nil {
		return view, nil
	}
	if view.Verdict.OK {
		o.Status = Approved
	}
	o.End(stepApproval, *view.Verdict, g.OpenedAt, tx.Now)
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
	began := time.Now()
	o, v, err := w.begin(ctx, req, stepAllocate)
	if v != nil || err != nil {
		return deref(v), err
	}
	if altered, err := w.altered(ctx, o); err != nil || altered {
		return w.refuseAltered(ctx, req, stepAllocate, began, err)
	}
	company, err := loadCompany(ctx, w.pool, o.CompanyID)
	if err != nil {
		return Verdict{}, err
	}
	allocations, shortages, err := w.inventory.allocate(ctx, o, company.Warehouses)
	if err != nil {
		return Verdict{}, err
	}
	return w.settle(ctx, req, stepAllocate, began, func(_ context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		if len(allocations) == 0 {
			return refused(Rejected, events.ReasonOutOfStock, "The warehouses have too little of what was ordered."), nil
		}
		o.Allocations, o.Shortages, o.Status = allocations, shortages, Allocated
		return fine, tx.Emit(o.TraceParent, &b2b.OrderAllocated{
			OfOrder: o.subject(), CompanyID: o.CompanyID, Allocations: allocations, Backorders: shortages,
		})
	})
}

// begin returns the order for a step that calls others, or the verdict of it and
// those taken with it if there is one already. A cancellation stops the order here.
func (w *worker) begin(ctx context.Context, req Request, steps ...string) (*Order, *Verdict, error) {
	o, err := loadOrder(ctx, w.pool, req.OrderID)
	if err != nil {
		return nil, nil, err
	}
	if v, ended := o.Outcome(steps...); ended {
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

// syncERP brings the order to the ERP and confirms it.
func (w *worker) syncERP(ctx context.Context, req Request) (Verdict, error) {
	began := time.Now()
	o, v, err := w.begin(ctx, req, stepERP, stepConfirm)
	if v != nil || err != nil {
		return deref(v), err
	}
	if altered, err := w.altered(ctx, o); err != nil || altered {
		return w.refuseAltered(ctx, req, stepERP, began, err)
	}
	id, err := w.erp.create(ctx, o)
	rejected, isRejected := errors.AsType[*rejectedError](err)
	if err != nil && !isRejected {
		return Verdict{}, err
	}
	var verdict Verdict
	err = w.update(ctx, req.OrderID, func(ctx context.Context, tx *outbox.Tx, o *Order) (err error) {
		verdict, err = settle(ctx, tx, o, stepERP, began, func(_ context.Context, _ *outbox.Tx, o *Order) (Verdict, error) {
			if isRejected {
				return refusedByERP(o, rejected, began), nil
			}
			o.ERPOrderID, o.Status = id, Synced
			return fine, nil
		})
		if err == nil && verdict.OK {
			verdict, err = settle(ctx, tx, o, stepConfirm, tx.Now, decideConfirm)
		}
		return err
	})
	return verdict, err
}

// decideConfirm completes the order, unless its cancellation was asked for before.
func decideConfirm(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
	if o.CancelAsked {
		return cancelledByCustomer, nil
	}
	if err := useCredit(ctx, tx, o.CompanyID, o.held()); err != nil {
		return Verdict{}, err
	}
	o.Status, o.Credit, o.EndedAt = Completed, CreditUsed, &tx.Now
	return fine, tx.Emit(o.TraceParent, &b2b.OrderCompleted{
		OfOrder: o.subject(), CompanyID: o.CompanyID, Total: o.total(), ERPOrderID: o.ERPOrderID,
	})
}
