package payment

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

var payments = aggregate.NewTable[Payment, uuid.UUID]("payments")

// handle records what a batch of events asks for, and takes it up where the
// provider can be asked; the cashier carries it out once that is committed.
func (c *cashier) handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	found, err := payments.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	var intended []*Payment
	for _, d := range batch {
		p := found[events.OrderOf(d.Event)]
		if p == nil {
			p = NewPayment(events.OrderOf(d.Event))
			found[p.ID] = p
		}
		before := p.Status
		switch e := d.Event.(type) {
		case *inventory.Reserved:
			p.Request(e, d.Trace, tx.Now)
		case *order.Cancelled:
			p.Cancel(tx.Now)
		}
		if p.Status != before && p.DueAt != nil {
			intended = append(intended, p)
		}
	}
	taken := make([]*Payment, 0, len(intended))
	room := c.room()
	for _, p := range intended {
		if p.DueAt != nil && len(taken) < room { // not void since
			p.TakeUp(tx.Now)
			taken = append(taken, p)
		}
	}
	tx.AfterCommit(func() { c.offer(taken) })
	return payments.Save(tx, found)
}
