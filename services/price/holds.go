package price

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	checkoutv1 "quadrille.internal/events/proto/checkout/v1"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/sweep"
)

const (
	holdsEvery   = 5 * time.Second
	holdsTimeout = 10 * time.Second
	maxHolds     = 100
	knownTimeout = 3 * time.Second
)

// holds ends those whose orders were not placed and never will be. Only checkout can say
// that: time alone ends no hold.
type holds struct {
	outbox *outbox.Outbox
	orders checkoutv1.OrdersClient
}

func (h *holds) run(ctx context.Context, log *slog.Logger) error {
	return sweep.New(sweep.Config{Name: "voucher holds", Every: holdsEvery, Timeout: holdsTimeout, Log: log},
		func(ctx context.Context) (bool, error) { return h.sweep(ctx) }).Run(ctx)
}

// sweep asks checkout about orders that were not settled for a while.
func (h *holds) sweep(ctx context.Context) (more bool, err error) {
	due, err := h.take(ctx)
	if err != nil || len(due) == 0 {
		return false, err
	}
	asked, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	req := &checkoutv1.KnownRequest{}
	for _, id := range due {
		req.OrderIds = append(req.OrderIds, id.String())
	}
	answer, err := h.orders.Known(asked, req)
	if err != nil {
		return false, fmt.Errorf("ask checkout about %d orders: %w", len(due), err)
	}
	unknown := slices.DeleteFunc(due, func(id uuid.UUID) bool { return slices.Contains(answer.GetOrderIds(), id.String()) })
	if len(unknown) == 0 {
		return len(req.GetOrderIds()) == maxHolds, nil
	}
	err = h.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		return settleUses(ctx, tx, unknown, released)
	})
	if err != nil {
		return false, fmt.Errorf("end %d holds: %w", len(unknown), err)
	}
	return len(req.GetOrderIds()) == maxHolds, nil
}

// take returns the orders of holds that are due, and has them asked about again later.
func (h *holds) take(ctx context.Context) (due []uuid.UUID, err error) {
	err = h.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		rows, err := tx.Query(ctx, `
			update voucher_uses set ask_at = $1 where order_id = any(array(
				select order_id from voucher_uses where status = 'held' and ask_at <= $2
				order by ask_at limit $3 for update skip locked))
			returning order_id`, tx.Now.Add(againAsk), tx.Now, maxHolds)
		if err != nil {
			return err
		}
		due, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take holds: %w", err)
	}
	return due, nil
}
