package price

import (
	"context"
	"maps"
	"slices"

	"github.com/google/uuid"

	"quadrille.internal/events/order"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// handle redeems the vouchers of confirmed orders and gives back those of cancelled ones.
// An order that price does not know has no voucher.
func handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	settled := make(map[uuid.UUID]Status)
	for _, d := range batch {
		switch e := d.Event.(type) {
		case *order.Confirmed:
			settled[e.OrderID] = Redeemed
		case *order.Cancelled:
			settled[e.OrderID] = Cancelled
		}
	}
	return settleUses(ctx, tx, slices.Collect(maps.Keys(settled)), func(u use) Status { return settled[u.OrderID] })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
