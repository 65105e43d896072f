package cart

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// handle hears what became of the orders that were made of carts, and of products.
func handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	if err := hearProducts(tx, batch); err != nil {
		return err
	}
	found, err := orders.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	var bought []*Ordering
	for _, d := range batch {
		id := events.OrderOf(d.Event)
		o := found[id]
		if o == nil {
			o = &Ordering{Lines: []Line{}, HeardAt: tx.Now}
			o.ID = id
		}
		ended, known := o.hear(d.Event)
		if known {
			found[id] = o
		}
		if ended {
			bought = append(bought, o)
		}
	}
	if err := empty(ctx, tx, bought); err != nil {
		return err
	}
	return orders.Save(tx, found)
}

// hear reports whether the event is about an order of a cart, as far as can be known, and
// whether the cart is to give up its lines.
func (o *Ordering) hear(e events.Event) (bought, known bool) {
	switch e := e.(type) {
	case *checkout.OrderCreatedV2:
		id, err := uuid.Parse(e.CartID)
		if err != nil {
			return false, false // it was not made of a cart of ours
		}
		lines := make([]Line, len(e.Lines))
		for i, l := range e.Lines {
			lines[i] = Line{SKU: l.SKU, Quantity: l.Quantity}
		}
		return o.Begin(id, lines), true
	case *order.Confirmed:
		return o.End(Confirmed), true
	case *order.Cancelled:
		return o.End(Cancelled), true
	default:
		return false, false
	}
}

// empty takes what was bought out of the carts.
func empty(ctx context.Context, tx *outbox.Tx, bought []*Ordering) error {
	ids := make([]uuid.UUID, len(bought))
	for i, o := range bought {
		ids[i] = *o.CartID
	}
	if len(ids) == 0 {
		return nil
	}
	// Customers' first, as when they are merged.
	list, err := carts.Select(ctx, tx, `where id = any($1) order by customer_id is null, id for update`, ids)
	if err != nil {
		return err
	}
	changed := make(map[uuid.UUID]*Cart, len(list))
	for _, c := range list {
		changed[c.ID] = c
	}
	for _, o := range bought {
		if c := changed[*o.CartID]; c != nil {
			c.Bought(o.Lines, tx.Now)
		}
	}
	return carts.Save(tx, changed)
}
