package order

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

var orders = aggregate.NewTable[Order, uuid.UUID]("orders")

// handle hears a batch of events; Order.Hear says what each type means.
func handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	found, err := orders.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	for _, d := range batch {
		o := found[events.OrderOf(d.Event)]
		if o == nil {
			o = NewOrder(events.OrderOf(d.Event))
			found[o.ID] = o
		}
		if o.TraceParent == "" {
			o.TraceParent = d.Trace
		}
		o.Hear(d.Event, d.Time)
		if e := o.Decide(tx.Now); e != nil {
			if err := tx.Emit(d.Trace, e); err != nil {
				return err
			}
		}
	}
	return orders.Save(tx, found)
}
