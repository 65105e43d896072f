package cart

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/snapshot"
)

// product is what carts have to know of one.
type product struct {
	// Retired are its SKUs, if it is no longer sold.
	Retired []string `json:"retired,omitempty"`
}

var products = snapshot.NewView[product]("products")

// hearProducts notes which products are retired, or sold again.
func hearProducts(tx *outbox.Tx, batch []inbox.Delivery) error {
	var states []snapshot.State[product]
	for _, d := range batch {
		switch e := d.Event.(type) {
		case *catalog.ProductUpdated:
			states = append(states, snapshot.State[product]{Key: e.ProductID, Version: e.Version})
		case *catalog.ProductRetired:
			states = append(states, snapshot.State[product]{Key: e.ProductID, Version: e.Version, Value: product{Retired: e.SKUs}})
		}
	}
	return products.Apply(tx.Tx, states...)
}

// retiredOf returns those of the SKUs whose product is retired.
func retiredOf(ctx context.Context, db aggregate.Querier, skus []string) (map[string]bool, error) {
	found := make(map[string]bool)
	if len(skus) == 0 {
		return found, nil
	}
	rows, err := db.Query(ctx, `
		select r.sku from products p, jsonb_array_elements_text(p.value -> 'retired') r (sku)
		where p.value -> 'retired' ?| $1 and r.sku = any($1)`, skus)
	if err != nil {
		return nil, fmt.Errorf("look for retired products: %w", err)
	}
	var sku string
	if _, err := pgx.ForEachRow(rows, []any{&sku}, func() error { found[sku] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look for retired products: %w", err)
	}
	return found, nil
}
