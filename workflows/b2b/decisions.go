package b2b

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/workflows/b2b/decisionlog"
)

func record(tx *outbox.Tx, d decisionlog.Decision) {
	tx.Last(`
		insert into decisions (order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.OrderID, d.Seq, d.Approver, d.OnBehalfOf, d.Verdict, d.Reason, d.OrderHash, d.Source, d.DecidedAt, d.PrevHash, d.Hash)
}

func listDecisions(ctx context.Context, db aggregate.Querier, id uuid.UUID) ([]decisionlog.Decision, error) {
	rows, err := db.Query(ctx, `
		select order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash,
			recorded_at, coalesce(mac, '') as mac
		from decisions where order_id = $1 order by seq`, id)
	if err != nil {
		return nil, fmt.Errorf("list decisions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[decisionlog.Decision])
	if err != nil {
		return nil, fmt.Errorf("list decisions: %w", err)
	}
	return list, nil
}

// anchor is what goes out of the decisions on an order.
func anchor(given []decisionlog.Decision) (a b2b.Anchor) {
	if n := len(given); n > 0 {
		a.OrderHash, a.DecisionsHead = given[n-1].OrderHash, given[n-1].Hash
	}
	return a
}

// altered reports whether an order that waited at a gate is not what was approved
// there. It is asked before each step that acts outside upon the approval, about the
// very order that the step is then taken with.
func (w *worker) altered(ctx context.Context, o *Order) (bool, error) {
	found, err := gates.Load(ctx, w.pool, []uuid.UUID{o.ID})
	if err != nil || found[o.ID] == nil {
		return false, err
	}
	given, err := listDecisions(ctx, w.pool, o.ID)
	if err != nil {
		return false, err
	}
	if why := contradicts(o, found[o.ID], given); why != nil {
		w.log.ErrorContext(ctx, "order is not what was approved: nothing is shipped, look for who changed the database",
			"order_id", o.ID, "code", reasonAltered, "err", why)
		return true, nil
	}
	return false, nil
}

// contradicts says in what the record of decisions stands against the order.
func contradicts(o *Order, g *Gate, given []decisionlog.Decision) error {
	if err := decisionlog.Check(given); err != nil {
		return err
	}
	if err := decisionlog.CheckOrder(given, o.decided(), o.RequestHash); err != nil {
		return err
	}
	approvals := 0
	for _, d := range given {
		if d.Verdict == Approve {
			approvals++
		}
	}
	if g.State != GateApproved || approvals < g.Need || approvals < len(given) {
		return fmt.Errorf("the approval is %s with %d approvals of %d", g.State, approvals, g.Need)
	}
	return nil
}

// refuseAltered ends a step, unless what was to be found out is not known yet.
func (w *worker) refuseAltered(ctx context.Context, req Request, step string, began time.Time, err error) (Verdict, error) {
	if err != nil {
		return Verdict{}, err
	}
	return w.settle(ctx, req, step, began, func(context.Context, *outbox.Tx, *Order) (Verdict, error) {
		return refused(Failed, reasonAltered, "The order is not the one that was approved."), nil
	})
}

// refusedByERP is the verdict of an order that the ERP does not want. Its words are
// for operators.
func refusedByERP(o *Order, rejected *rejectedError, began time.Time) Verdict {
	s := o.step(stepERP, began.UTC())
	s.Code, s.Cause = reasonERP, rejected.message
	return refused(Failed, reasonERP, messageERPRejected)
}
