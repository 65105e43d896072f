package checkout

import (
	"context"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

var checkouts = aggregate.NewTable[Checkout, uuid.UUID]("checkouts")

// handle hears a batch of events; Checkout.Hear says what each type means. An
// order that was not placed here (by a company, say) is none of ours.
func handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	found, err := checkouts.Load(ctx, tx, inbox.Orders(batch))
	if err != nil {
		return err
	}
	for _, d := range batch {
		if c := found[events.OrderOf(d.Event)]; c != nil {
			c.Hear(d.Event, d.Time)
		}
	}
	return checkouts.Save(tx, found)
}
