package order

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

var orders = aggregate.NewTable[Order, uuid.UUID]("orders")

// handle hears a batch of events; Order.Hear says what each type means.
func (s *server) handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	found, err := orders.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	var placedBy []string
	for _, d := range batch {
		if e := checkout.Created(d.Event); e != nil {
			placedBy = append(placedBy, e.CustomerID)
		}
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
			s.settled(tx, o)
		}
	}
	if err := orders.Save(tx, found); err != nil {
		return err
	}
	customers.Keep(tx, placedBy)
	return nil
}

// settled notes how long an order took, once that is committed.
func (s *server) settled(tx *outbox.Tx, o *Order) {
	outcome, took, trace := string(o.Status), o.SettledAt.Sub(*o.PlacedAt), o.TraceParent
	tx.AfterCommit(func() { s.took.ObserveIn(trace, outcome, took) })
}
