package cart

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/cart"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/sweep"
)

const (
	sweepEvery   = 10 * time.Second
	sweepBatch   = 500
	sweepTimeout = 5 * time.Second

	// keepOrders is longer than the broker keeps events: an order's beginning may be heard
	// after its end, and must not look new then.
	keepOrders = 30 * 24 * time.Hour
)

// openOrder selects an order of a cart that is open. As a value it is looked up by index for
// each cart, which PostgreSQL does not do for "not exists".
const openOrder = `select o.id from cart_orders o where o.cart_id = carts.id and o.verdict = '' limit 1`

// sweeper says which carts are abandoned, and deletes what nobody needs any more.
type sweeper struct {
	outbox *outbox.Outbox
	log    *slog.Logger
	// abandoned is how long a cart is left before that is said, guests how long a guest's
	// is kept.
	abandoned, guests time.Duration
}

func (s *sweeper) run(ctx context.Context) error {
	due := sweep.New(sweep.Config{Name: "carts", Every: sweepEvery, Timeout: sweepTimeout, Log: s.log}, s.once)
	return due.Run(ctx)
}

func (s *sweeper) once(ctx context.Context) (more bool, err error) {
	for _, batch := range []func(context.Context) (int64, error){s.sayAbandoned, s.deleteGuests, s.deleteOrders} {
		n, err := batch(ctx)
		if err != nil {
			return false, err
		}
		more = more || n == sweepBatch
	}
	return more, nil
}

// sayAbandoned announces carts that were left. One that is being ordered is not.
func (s *sweeper) sayAbandoned(ctx context.Context) (n int64, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		left, err := carts.Select(ctx, tx, `
			where abandoned_at is null and lines <> '[]' and changed_at <= $1
			  and (`+openOrder+`) is null
			order by changed_at limit $2 for update skip locked`, tx.Now.Add(-s.abandoned), sweepBatch)
		if err != nil {
			return err
		}
		n = int64(len(left))
		changed := make(map[uuid.UUID]*Cart, len(left))
		for _, c := range left {
			c.AbandonedAt = &tx.Now
			changed[c.ID] = c
			e := cart.Abandoned{CartID: c.ID, Lines: c.Lines, ChangedAt: c.ChangedAt}
			if c.CustomerID != nil {
				e.CustomerID = *c.CustomerID
			}
			if err := tx.Emit("", e); err != nil {
				return err
			}
		}
		return carts.Save(tx, changed)
	})
	if err != nil {
		return 0, fmt.Errorf("say which carts are abandoned: %w", err)
	}
	return n, nil
}

// deleteGuests deletes carts of guests that were left for long.
func (s *sweeper) deleteGuests(ctx context.Context) (int64, error) {
	return s.delete(ctx, "guests' carts", `
		delete from carts where id = any(array(
			select id from carts where customer_id is null and changed_at <= $1
			  and (`+openOrder+`) is null
			order by changed_at limit $2 for update skip locked))`, s.guests)
}

func (s *sweeper) deleteOrders(ctx context.Context) (int64, error) {
	return s.delete(ctx, "orders that ended", `
		delete from cart_orders where id = any(array(
			select id from cart_orders where verdict <> '' and heard_at <= $1
			order by heard_at limit $2 for update skip locked))`, keepOrders)
}

func (s *sweeper) delete(ctx context.Context, what, sql string, age time.Duration) (n int64, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		tag, err := tx.Exec(ctx, sql, tx.Now.Add(-age), sweepBatch)
		n = tag.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("delete %s: %w", what, err)
	}
	return n, nil
}
