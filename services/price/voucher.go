package price

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
)

// Status of a voucher's use by an order.
type Status string

// The statuses. Held turns into one of the others; Released turns into Held where the order
// is placed after all.
const (
	Held      Status = "held"
	Redeemed  Status = "redeemed"
	Released  Status = "released"
	Cancelled Status = "cancelled"
)

const (
	// firstAsk is how long after a hold checkout is asked about its order. Orders settle in
	// seconds as a rule.
	firstAsk = 2 * time.Minute
	// againAsk is when it is asked about again while there is such an order.
	againAsk = time.Minute
)

// use is an order's use of a voucher.
type use struct {
	OrderID uuid.UUID
	Code    string
	QuoteID uuid.UUID
	Status  Status
}

var (
	errUsedUp    = errors.New("the voucher is used up")
	errCancelled = errors.New("the order is cancelled")
)

// usedError says that another order of the same quote has its voucher.
type usedError struct{ order uuid.UUID }

func (e *usedError) Error() string { return "the quote's voucher is that of order " + e.order.String() }

// hold holds a voucher for an order, once. The table's check keeps the uses within their
// number, whatever this says.
func hold(ctx context.Context, o *outbox.Outbox, u use) error {
	err := o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		added, err := tx.Exec(ctx, `
			insert into voucher_uses (order_id, code, quote_id, status, held_at, ask_at)
			values ($1, $2, $3, 'held', $4, $5) on conflict (order_id) do nothing`,
			u.OrderID, u.Code, u.QuoteID, tx.Now, tx.Now.Add(firstAsk))
		if err != nil {
			return fmt.Errorf("hold voucher %s: %w", u.Code, err)
		}
		if added.RowsAffected() == 0 {
			again, err := holdAgain(ctx, tx, u)
			if err != nil || !again {
				return err
			}
		}
		tx.Last(`update vouchers set held = held + 1 where code = $1`, u.Code)
		return nil
	})
	switch {
	case pgtx.Violates(err, "vouchers_not_overdrawn"):
		return errUsedUp
	case pgtx.Violates(err, "voucher_uses_by_quote"):
		return usedBy(ctx, o, u)
	default:
		return err
	}
}

// holdAgain looks at what the order has already, and reports whether that must be held.
func holdAgain(ctx context.Context, tx *outbox.Tx, u use) (bool, error) {
	uses, err := lockUses(ctx, tx, []uuid.UUID{u.OrderID})
	if err != nil {
		return false, err
	}
	earlier := uses[0]
	switch {
	case earlier.Status == Cancelled:
		return false, errCancelled
	case earlier.Status == Released:
		_, err := tx.Exec(ctx, `
			update voucher_uses set code = $2, quote_id = $3, status = 'held', held_at = $4, ask_at = $5, ended_at = null
			where order_id = $1`, u.OrderID, u.Code, u.QuoteID, tx.Now, tx.Now.Add(firstAsk))
		if err != nil {
			return false, fmt.Errorf("hold voucher %s again: %w", u.Code, err)
		}
		return true, nil
	case earlier.Code != u.Code:
		return false, &usedError{u.OrderID}
	}
	return false, nil
}

func usedBy(ctx context.Context, o *outbox.Outbox, u use) error {
	var other uuid.UUID
	err := o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		rows, err := tx.Query(ctx, `
			select order_id from voucher_uses where quote_id = $1 and status in ('held', 'redeemed')`, u.QuoteID)
		if err != nil {
			return err
		}
		other, err = pgx.CollectOneRow(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	if err != nil {
		return fmt.Errorf("find the order of quote %s: %w", u.QuoteID, err)
	}
	return &usedError{other}
}

// lockUses returns the uses of orders, by order, locked. Vouchers are locked after them.
func lockUses(ctx context.Context, tx *outbox.Tx, orders []uuid.UUID) ([]use, error) {
	rows, err := tx.Query(ctx, `
		select order_id, code, quote_id, status from voucher_uses where order_id = any($1) order by order_id for update`, orders)
	if err != nil {
		return nil, fmt.Errorf("load voucher uses: %w", err)
	}
	uses, err := pgtx.Collect(rows, pgx.RowToStructByPos[use])
	if err != nil {
		return nil, fmt.Errorf("load voucher uses: %w", err)
	}
	return uses, nil
}

// settleUses turns uses of orders into what next says, and counts them. next answers with the
// status that a use has already where there is nothing to do.
func settleUses(ctx context.Context, tx *outbox.Tx, orders []uuid.UUID, next func(use) Status) error {
	uses, err := lockUses(ctx, tx, orders)
	if err != nil {
		return err
	}
	var ids []uuid.UUID
	var statuses []string
	counts := make(map[string]*[2]int64)
	for _, u := range uses {
		status := next(u)
		if status == u.Status {
			continue
		}
		ids, statuses = append(ids, u.OrderID), append(statuses, string(status))
		if counts[u.Code] == nil {
			counts[u.Code] = new([2]int64)
		}
		held, redeemed := u.Status.counts()
		nextHeld, nextRedeemed := status.counts()
		counts[u.Code][0] += nextHeld - held
		counts[u.Code][1] += nextRedeemed - redeemed
	}
	if len(ids) == 0 {
		return nil
	}
	tx.Last(`
		update voucher_uses u set status = n.status, ended_at = case when n.status = 'held' then null else $3::timestamptz end
		from unnest($1::uuid[], $2::text[]) n (id, status) where u.order_id = n.id`, ids, statuses, tx.Now)
	for _, code := range sortedKeys(counts) {
		tx.Last(`update vouchers set held = held + $2, redeemed = redeemed + $3 where code = $1`, code, counts[code][0], counts[code][1])
	}
	return nil
}

// counts is what a use with the status counts as.
func (s Status) counts() (held, redeemed int64) {
	switch s {
	case Held:
		return 1, 0
	case Redeemed:
		return 0, 1
	default:
		return 0, 0
	}
}
