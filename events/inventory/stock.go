package inventory

import (
	"errors"
	"fmt"

	"quadrille.internal/events"
)

// KindSKU is the kind of events about SKUs.
const KindSKU events.Kind = "sku"

// TypeStockChanged is also the name of the topic.
const TypeStockChanged = "inventory.stock.changed"

// MaxChangedSKUs is how many SKUs one StockChanged tells at most.
const MaxChangedSKUs = 100

// StockChanged: new orders may have more or less of some SKUs. It tells the newest
// states, not each change, and comes a second or so after them; large numbers are rounded
// down, so that what is plentiful says nothing (PublishedLevel). Of each SKU keep the state
// with the highest version: events with states of one SKU may come in any order.
// StockSnapshot in events/proto has those of all SKUs.
type StockChanged struct {
	// SKUs are 1 to 100, each once, by name.
	SKUs []ChangedSKU `json:"skus"`
}

// ChangedSKU is the state of a SKU.
type ChangedSKU struct {
	SKU string `json:"sku"`
	// Version grows with each state that is published.
	Version int64 `json:"version"`
	StockLevel
}

// StockLevel is what new orders may have of a SKU.
type StockLevel struct {
	// Available is the sum of what is published of the warehouses.
	Available  int64            `json:"available"`
	Warehouses []WarehouseLevel `json:"warehouses"`
}

// WarehouseLevel is what new orders may have from one warehouse.
type WarehouseLevel struct {
	Warehouse string `json:"warehouse"`
	// Available is exact below 100; see PublishedLevel.
	Available int64 `json:"available"`
}

// PublishedLevel is what is published of what orders may have in a warehouse, 0 or more:
// the exact number below 100, and above it the number rounded down to two digits.
func PublishedLevel(available int64) int64 {
	unit := int64(1)
	for available/unit >= 100 {
		unit *= 10
	}
	return available - available%unit
}

// Type is inventory.stock.changed.
func (StockChanged) Type() string { return TypeStockChanged }

// Subject is the first of the SKUs.
func (e StockChanged) Subject() string {
	if len(e.SKUs) == 0 {
		return ""
	}
	return e.SKUs[0].SKU
}

// Key is the first of the SKUs, which spreads the events over partitions.
func (e StockChanged) Key() string { return e.Subject() }

// Validate checks the number of SKUs and each of them.
func (e StockChanged) Validate() error {
	if n := len(e.SKUs); n < 1 || n > MaxChangedSKUs {
		return fmt.Errorf("%d SKUs, want 1 to %d", n, MaxChangedSKUs)
	}
	for i, s := range e.SKUs {
		if i > 0 && s.SKU <= e.SKUs[i-1].SKU {
			return fmt.Errorf("SKU %d: %q is not behind %q", i, s.SKU, e.SKUs[i-1].SKU)
		}
		if err := s.validate(); err != nil {
			return fmt.Errorf("SKU %d: %w", i, err)
		}
	}
	return nil
}

func (s ChangedSKU) validate() error {
	if s.SKU == "" || s.Version < 1 || len(s.Warehouses) == 0 {
		return errors.New("sku, version and warehouses are required")
	}
	var sum int64
	for i, w := range s.Warehouses {
		if w.Warehouse == "" || w.Available < 0 {
			return fmt.Errorf("warehouse %d: a name and what is available, 0 or more, are required", i)
		}
		sum += w.Available
	}
	if sum != s.Available {
		return fmt.Errorf("available is %d, the sum of the warehouses %d", s.Available, sum)
	}
	return nil
}
