package catalog

import (
	"context"

	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/snapshot"
)

// stock is what catalog keeps of inventory's levels: whether there is any. What is shown
// and searched needs no more, and a SKU that sells changes nothing until the last is gone.
type stock struct {
	InStock bool `json:"in_stock"`
}

var stockView = snapshot.NewView[stock]("stock_view")

// handle keeps the copies. Triggers tell the index of what changes.
func handle(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	var stocks []snapshot.State[stock]
	for _, d := range batch {
		if e, ok := d.Event.(*inventory.StockChanged); ok {
			for _, s := range e.SKUs {
				stocks = append(stocks, stockState(s.SKU, s.Version, s.Available))
			}
		}
	}
	return stockView.Apply(tx.Tx, stocks...)
}

func stockState(sku string, version, available int64) snapshot.State[stock] {
	return snapshot.State[stock]{Key: sku, Version: version, Value: stock{InStock: available > 0}}
}
