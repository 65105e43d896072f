package inventory

import (
	"errors"
	"fmt"

	"quadrille.internal/events"
)

// KindSKU is the kind of events about a SKU.
const KindSKU events.Kind = "sku"

// TypeStockChanged is also the name of the topic.
const TypeStockChanged = "inventory.stock.changed"

// OfSKU is embedded in the payload of each event that is about a SKU.
type OfSKU struct {
	SKU string `json:"sku"`
}

// Subject is the SKU.
func (o OfSKU) Subject() string { return o.SKU }

// Key is the SKU.
func (o OfSKU) Key() string { return o.SKU }

// StockChanged: new orders may have more or less of a SKU. It tells the newest state,
// not each change, and comes a second or so after it. Keep the state with the highest
// version; StockSnapshot in events/proto has those of all SKUs.
type StockChanged struct {
	OfSKU
	// Version grows with each state that is published.
	Version int64 `json:"version"`
	StockLevel
}

// StockLevel is what new orders may have of a SKU.
type StockLevel struct {
	// Available is the sum over the warehouses.
	Available  int64            `json:"available"`
	Warehouses []WarehouseLevel `json:"warehouses"`
}

// WarehouseLevel is what new orders may have from one warehouse.
type WarehouseLevel struct {
	Warehouse string `json:"warehouse"`
	Available int64  `json:"available"`
}

// Type is inventory.stock.changed.
func (StockChanged) Type() string { return TypeStockChanged }

// Validate checks SKU, version and sum.
func (e StockChanged) Validate() error {
	if e.SKU == "" || e.Version < 1 || len(e.Warehouses) == 0 {
		return errors.New("sku, version and warehouses are required")
	}
	var sum int64
	for i, w := range e.Warehouses {
		if w.Warehouse == "" || w.Available < 0 {
			return fmt.Errorf("warehouse %d: a name and what is available, 0 or more, are required", i)
		}
		sum += w.Available
	}
	if sum != e.Available {
		return fmt.Errorf("available is %d, the sum of the warehouses %d", e.Available, sum)
	}
	return nil
}
