package inventory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

var reservations = aggregate.NewTable[Reservation, uuid.UUID]("reservations")

// handler has the effects of events. ttl is how long stock is held.
type handler struct {
	ttl time.Duration
}

// handle decides a batch in memory, with the stock that it is about locked once.
func (h *handler) handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	found, err := reservations.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	shelf, err := lockShelf(ctx, tx.Tx, skusOf(batch, found))
	if err != nil {
		return err
	}
	for _, d := range batch {
		r := found[events.OrderOf(d.Event)]
		if r == nil {
			r = NewReservation(events.OrderOf(d.Event))
			found[r.ID] = r
		}
		caused, err := h.apply(r, d, shelf, tx.Now)
		if err != nil {
			return err
		}
		for _, e := range caused {
			if err := tx.Emit(d.Trace, e); err != nil {
				return err
			}
		}
	}
	// First the reservations: if a call changed one while this batch waited for the
	// stock, what was computed from it fits no more.
	if err := reservations.Save(tx, found); err != nil {
		return err
	}
	return saveShelf(tx.Tx, shelf)
}

// apply gives an event to the one method that is its effect.
func (h *handler) apply(r *Reservation, d inbox.Delivery, shelf Shelf, now time.Time) ([]events.Event, error) {
	switch e := d.Event.(type) {
	case *checkout.OrderCreated, *checkout.OrderCreatedV2:
		r.TraceParent = d.Trace
		return r.Reserve(checkout.Created(e), shelf, now, h.ttl), nil
	case *order.Confirmed, *b2b.OrderCompleted:
		return listOf(r.Confirm(shelf, now))
	case *order.Cancelled, *payment.Failed:
		return listOf(r.Cancel(shelf, now))
	default:
		return nil, nil
	}
}

// listOf is the list of what a rule announces, which may be nothing.
func listOf(e events.Event, err error) ([]events.Event, error) {
	if e == nil {
		return nil, err
	}
	return []events.Event{e}, err
}

// skusOf lists the SKUs whose stock a batch may change.
func skusOf(batch []inbox.Delivery, found map[uuid.UUID]*Reservation) []string {
	var lines []events.Line
	for _, d := range batch {
		if e := checkout.Created(d.Event); e != nil {
			lines = append(lines, e.Lines...)
		}
	}
	return skusIn(lines, found)
}

// skusIn lists the SKUs of lines and of what reservations hold, each once.
func skusIn(lines []events.Line, found map[uuid.UUID]*Reservation) []string {
	seen := make(map[string]struct{})
	for _, l := range lines {
		seen[l.SKU] = struct{}{}
	}
	for _, r := range found {
		for _, a := range r.Allocations {
			seen[a.SKU] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(seen))
}
