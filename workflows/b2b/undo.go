package b2b

import (
	"context"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/outbox"
)

func (w *worker) undoERP(ctx context.Context, req Request) (Verdict, error) {
	return w.compensate(ctx, req, stepERP, w.erp.cancel)
}

func (w *worker) undoAllocate(ctx context.Context, req Request) (Verdict, error) {
	return w.compensate(ctx, req, stepAllocate, w.inventory.release)
}

// compensate undoes a step outside, whether or not it is known to have had its
// effect, and notes that.
func (w *worker) compensate(ctx context.Context, req Request, step string, undoIt func(context.Context, *Order) error) (Verdict, error) {
	began := time.Now()
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
	return w.settle(ctx, req, undo(step), began, func(context.Context, *outbox.Tx, *Order) (Verdict, error) { return fine, nil })
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
	return w.settle(ctx, req, undo(stepCredit), time.Now(), func(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		if o.Credit != CreditHeld {
			return fine, nil
		}
		o.Status, o.Credit = Undoing, CreditReleased
		return fine, releaseCredit(ctx, tx, o.CompanyID, o.held())
	})
}

// stuck shows that a compensation keeps failing, until somebody resumes it.
func (w *worker) stuck(ctx context.Context, req Request) (Verdict, error) {
	err := w.update(ctx, req.OrderID, func(_ context.Context, tx *outbox.Tx, o *Order) error {
		if _, undone := o.Ended(req.Step); undone {
			return nil // told late
		}
		o.Status = CompensationFailed
		o.move(tx.Now)
		o.Reason = &events.Reason{Code: string(CompensationFailed), Message: words[string(CompensationFailed)]}
		return nil
	})
	return fine, err
}

// end notifies of an order that did not go through, with the reason.
func (w *worker) end(ctx context.Context, req Request) (Verdict, error) {
	why := safeVerdict(*req.Verdict) // a workflow that began before may carry an ERP's own words
	return w.settle(ctx, req, activityEnd, time.Now(), func(ctx context.Context, tx *outbox.Tx, o *Order) (Verdict, error) {
		given, err := listDecisions(ctx, tx, o.ID)
		if err != nil {
			return Verdict{}, err
		}
		o.Status, o.Reason, o.EndedAt = Status(why.Final), why.Reason, &tx.Now
		if o.Status == Rejected {
			return why, tx.Emit(o.TraceParent, &b2b.OrderRejected{OfOrder: o.subject(), CompanyID: o.CompanyID, Reason: *why.Reason, Anchor: anchor(given)})
		}
		return why, tx.Emit(o.TraceParent, &b2b.OrderFailed{OfOrder: o.subject(), CompanyID: o.CompanyID, Status: why.Final, Reason: *why.Reason})
	})
}
