package payment

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/platform/outbox"
)

// Due payments that were never tried, and those that were. While the provider is on
// trial the newest go first: the oldest may be there because they are at fault.
const (
	dueFresh  = `where due_at <= $1 and attempts = 0 order by due_at limit $2 for update skip locked`
	dueNewest = `where due_at <= $1 and attempts = 0 order by due_at desc limit $2 for update skip locked`
	dueAgain  = `where due_at <= $1 and attempts > 0 order by due_at limit $2 for update skip locked`
)

// sweep takes up intentions that are due, as many as there is room for and the
// provider can be asked: those never tried before the others. Replicas take
// different ones.
func (c *cashier) sweep(ctx context.Context) error {
	open := c.provider.open()
	if open == 0 {
		return nil
	}
	fresh := dueFresh
	if !c.provider.well() {
		fresh = dueNewest
	}
	return c.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		taken := make(map[uuid.UUID]*Payment)
		var order []*Payment
		for _, take := range []struct {
			condition string
			queue     chan *Payment
		}{{fresh, c.fresh}, {dueAgain, c.retries}} {
			room := min(cap(take.queue)-len(take.queue), open-len(taken))
			if room == 0 {
				continue
			}
			due, err := payments.Select(ctx, tx, take.condition, tx.Now, room)
			if err != nil {
				return err
			}
			for _, p := range due {
				p.TakeUp(tx.Now)
				taken[p.ID] = p
			}
			order = append(order, due...)
		}
		tx.AfterCommit(func() { c.offer(order) })
		return payments.Save(tx, taken)
	})
}
