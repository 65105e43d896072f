package cart

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/catalog"
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

// retiredOf selects those of a cart's SKUs whose product is retired.
const retiredOf = `
	with of_cart as (select array(select l ->> 'sku' from carts c, jsonb_array_elements(c.lines) l where c.id = $1) as skus)
	select r.sku from products p, jsonb_array_elements_text(p.value -> 'retired') r (sku)
	where p.value -> 'retired' ?| (select skus from of_cart) and r.sku = any((select skus from of_cart)::text[])`

func readRetired(rows pgx.Rows) (map[string]bool, error) {
	found := make(map[string]bool)
	var sku string
	if _, err := pgx.ForEachRow(rows, []any{&sku}, func() error { found[sku] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look for retired products: %w", err)
	}
	return found, nil
}
