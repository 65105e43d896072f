package inventory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"quadrille.internal/events"
)

// Stock is one SKU in one warehouse, in units. The JSON names are the columns.
type Stock struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	OnHand    int64  `json:"on_hand"`
	// Held of OnHand belongs to orders that are not settled.
	Held int64 `json:"held"`
	// Moves counts the changes of OnHand.
	Moves int64 `json:"moves"`
}

// Available is what a new order may have.
func (s *Stock) Available() int64 { return s.OnHand - s.Held }

// Shelf is the stock of some SKUs, by warehouse.
type Shelf map[string][]*Stock

// Allocate holds what lines ask for, all or nothing. The fewest warehouses are
// drawn on: one that has everything if there is one, otherwise, again and again,
// the one that has most of what is still wanted. Names break ties, so that the
// same stock gives the same allocation.
func (s Shelf) Allocate(lines []events.Line) ([]events.Allocation, []events.Shortage) {
	wanted := demand(lines)
	if short := s.shortages(wanted); len(short) > 0 {
		return nil, short
	}
	var held []events.Allocation
	for len(wanted) > 0 {
		held = append(held, s.take(wanted, s.best(wanted))...)
	}
	return held, nil
}

// demand adds up the lines by SKU: one may stand on several.
func demand(lines []events.Line) map[string]int64 {
	wanted := make(map[string]int64, len(lines))
	for _, l := range lines {
		wanted[l.SKU] += l.Quantity
	}
	return wanted
}

func (s Shelf) shortages(wanted map[string]int64) []events.Shortage {
	var short []events.Shortage
	for _, sku := range sortedKeys(wanted) {
		var available int64
		for _, st := range s[sku] {
			available += st.Available()
		}
		if available < wanted[sku] {
			short = append(short, events.Shortage{SKU: sku, Requested: wanted[sku], Available: available})
		}
	}
	return short
}

// best returns the warehouse that has most units of what is wanted.
func (s Shelf) best(wanted map[string]int64) string {
	units := make(map[string]int64)
	for sku, n := range wanted {
		for _, st := range s[sku] {
			units[st.Warehouse] += min(n, st.Available())
		}
	}
	return slices.MaxFunc(sortedKeys(units), func(a, b string) int {
		return cmp.Compare(units[a], units[b])
	})
}

// Movement is a change of stock that no order caused. The JSON names are the
// columns.
type Movement struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	Delta     int64  `json:"delta"`
	Reason    string `json:"reason"`
	// Key is the idempotency key of the adjustment, of which this is a line; of a
	// count it is nil.
	Key  *string `json:"adjustment_key"`
	Line *int    `json:"adjustment_line"`
}

// reasonCount is that of movements which make the books agree with a count.
const reasonCount = "count"

// Version tells one state of a SKU's stocks from another, by what lies in the
// warehouses: orders that only hold some of it do not change it. The stocks are
// sorted by warehouse.
func Version(stocks []*Stock) string {
	h := sha256.New()
	for _, st := range stocks {
		fmt.Fprintf(h, "%s=%d\n", st.Warehouse, st.Moves)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Count sets what lies on the shelf, and returns what that changes.
func (s Shelf) Count(counts []Stock) (moved []Movement) {
	for _, c := range counts {
		st := s.at(c.SKU, c.Warehouse)
		if c.OnHand != st.OnHand {
			moved = append(moved, Movement{SKU: c.SKU, Warehouse: c.Warehouse, Delta: c.OnHand - st.OnHand, Reason: reasonCount})
			st.OnHand = c.OnHand
		}
	}
	return moved
}

// Move adds to what lies on the shelf, or takes away from it.
func (s Shelf) Move(moved []Movement) {
	for _, m := range moved {
		s.at(m.SKU, m.Warehouse).OnHand += m.Delta
	}
}

// Ship takes allocations out of the warehouse.
func (s Shelf) Ship(allocations []events.Allocation) {
	for _, a := range allocations {
		st := s.at(a.SKU, a.Warehouse)
		st.OnHand -= a.Quantity
		st.Held -= a.Quantity
	}
}

// Release gives allocations back for sale.
func (s Shelf) Release(allocations []events.Allocation) {
	for _, a := range allocations {
		s.at(a.SKU, a.Warehouse).Held -= a.Quantity
	}
}

func (s Shelf) at(sku, warehouse string) *Stock {
	for _, st := range s[sku] {
		if st.Warehouse == warehouse {
			return st
		}
	}
	return nil
}

func sortedKeys(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
