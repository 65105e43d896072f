package catalog

import (
	"context"

	"quadrille.internal/events/inventory"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/snapshot"
)

// stock is what catalog keeps of inventory's levels: whether there is any. What is shown
// and searched needs no more, and a SKU that sells changes nothing until the last is gone.
type stock struct {
	InStock bool `json:"in_stock"`
}

var (
	stockCopy = snapshot.NewView[stock]("stock_view")
	priceCopy = snapshot.NewView[price.Priced]("price_view")
)

// handle keeps the copies. Triggers tell the index of what changes.
func handle(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	var stocks []snapshot.State[stock]
	var prices []snapshot.State[price.Priced]
	for _, d := range batch {
		switch e := d.Event.(type) {
		case *inventory.StockChanged:
			for _, s := range e.SKUs {
				stocks = append(stocks, stockState(s.SKU, s.Version, s.Available))
			}
		case *price.PriceUpdated:
			for _, p := range e.Products {
				prices = append(prices, snapshot.State[price.Priced]{Key: p.SKU, Version: p.Version, Value: p.Priced})
			}
		}
	}
	if err := stockCopy.Apply(tx.Tx, stocks...); err != nil {
		return err
	}
	return priceCopy.Apply(tx.Tx, prices...)
}

func stockState(sku string, version, available int64) snapshot.State[stock] {
	return snapshot.State[stock]{Key: sku, Version: version, Value: stock{InStock: available > 0}}
}
