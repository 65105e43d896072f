package inventory

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"quadrille.internal/events"
)

// spread is stock of some SKUs by warehouse.
type spread map[string]map[string]int64

func (s spread) shelf() Shelf {
	shelf := Shelf{}
	for sku, units := range s {
		for _, warehouse := range slices.Sorted(maps.Keys(units)) {
			shelf[sku] = append(shelf[sku], &Stock{SKU: sku, Warehouse: warehouse, OnHand: units[warehouse]})
		}
	}
	return shelf
}

func TestAllocateNear(t *testing.T) {
	lines := func(quantities ...any) (list []events.Line) {
		for i := 0; i < len(quantities); i += 2 {
			list = append(list, events.Line{SKU: quantities[i].(string), Quantity: int64(quantities[i+1].(int))})
		}
		return list
	}
	for _, c := range []struct {
		name      string
		stock     spread
		lines     []events.Line
		nearest   []string
		backorder bool
		want      string // sku warehouse quantity, ...
	}{
		{"all from the nearest", spread{"a": {"bath": 5, "hull": 5, "york": 5}}, lines("a", 5), []string{"hull", "york"}, false, "a hull 5"},
		{"without a preference, by name", spread{"a": {"hull": 5, "bath": 5}}, lines("a", 5), nil, false, "a bath 5"},
		{"one far before two near", spread{"a": {"bath": 9, "hull": 5, "york": 5}}, lines("a", 9), []string{"hull", "york", "bath"}, false, "a bath 9"},
		{"of two pairs the nearer one", spread{"a": {"bath": 5, "hull": 4, "leeds": 5, "york": 5}}, lines("a", 9),
			[]string{"hull", "york", "leeds", "bath"}, false, "a hull 4, a york 5"},
		{"the nearest gives all it has", spread{"a": {"hull": 4, "york": 9}}, lines("a", 10), []string{"hull", "york"}, false, "a hull 4, a york 6"},
		{"one shipment for several SKUs", spread{"a": {"hull": 5, "york": 5}, "b": {"york": 5}}, lines("a", 2, "b", 2), []string{"hull"}, false, "a york 2, b york 2"},
		{"a SKU on several lines", spread{"a": {"hull": 5}}, lines("a", 2, "a", 3), nil, false, "a hull 5"},
		{"one short, nothing held", spread{"a": {"hull": 5}, "b": {"hull": 1}}, lines("a", 2, "b", 2), nil, false, ""},
		{"an unknown SKU", spread{"a": {"hull": 5}}, lines("a", 1, "x", 1), nil, false, ""},
		{"a back-order takes what there is", spread{"a": {"hull": 5}, "b": {"hull": 1}}, lines("a", 2, "b", 2, "x", 1), nil, true, "a hull 2, b hull 1"},
		{"a back-order of what there is none of", spread{"a": {"hull": 0}}, lines("a", 2), nil, true, ""},
		{"a back-order over several warehouses", spread{"a": {"hull": 1, "york": 2}}, lines("a", 9), []string{"york"}, true, "a york 2, a hull 1"},
		{"more warehouses than are combined", spread{"a": many(12)}, lines("a", 3), []string{"w11"}, false, "a w11 1, a w00 1, a w01 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shelf := c.stock.shelf()
			got := ""
			for i, a := range shelf.AllocateNear(c.lines, c.nearest, c.backorder) {
				if i > 0 {
					got += ", "
				}
				got += fmt.Sprintf("%s %s %d", a.SKU, a.Warehouse, a.Quantity)
				if st := shelf.at(a.SKU, a.Warehouse); st.Held != a.Quantity {
					t.Errorf("%+v holds not what was allocated", st)
				}
			}
			if got != c.want {
				t.Errorf("allocated %q, want %q", got, c.want)
			}
		})
	}
}

// many is one unit in each of n warehouses.
func many(n int) map[string]int64 {
	units := map[string]int64{}
	for i := range n {
		units[fmt.Sprintf("w%02d", i)] = 1
	}
	return units
}
