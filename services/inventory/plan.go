package inventory

import (
	"cmp"
	"math/bits"
	"slices"

	"quadrille.internal/events"
)

// maxPlanned bounds the warehouses of which every combination is tried.
const maxPlanned = 10

// AllocateNear holds what lines ask for in the fewest warehouses, and of those
// combinations in the nearest. With backorder it holds what there is of each SKU;
// without, all or nothing. It returns nil where nothing could be held.
func (s Shelf) AllocateNear(lines []events.Line, nearest []string, backorder bool) []events.Allocation {
	wanted := demand(lines)
	if backorder {
		s.reduce(wanted)
	} else if len(s.shortages(wanted)) > 0 {
		return nil
	}
	var held []events.Allocation
	for _, warehouse := range s.plan(wanted, nearest) {
		held = append(held, s.take(wanted, warehouse)...)
	}
	return held
}

// reduce lowers demand to what there is.
func (s Shelf) reduce(wanted map[string]int64) {
	for _, short := range s.shortages(wanted) {
		if short.Available <= 0 {
			delete(wanted, short.SKU)
		} else {
			wanted[short.SKU] = short.Available
		}
	}
}

// take holds as much of wanted as a warehouse has, and takes it off wanted.
func (s Shelf) take(wanted map[string]int64, warehouse string) []events.Allocation {
	var held []events.Allocation
	for _, sku := range sortedKeys(wanted) {
		st := s.at(sku, warehouse)
		if st == nil || st.Available() <= 0 {
			continue
		}
		n := min(wanted[sku], st.Available())
		st.Held += n
		held = append(held, events.Allocation{SKU: sku, Warehouse: warehouse, Quantity: n})
		if wanted[sku] -= n; wanted[sku] == 0 {
			delete(wanted, sku)
		}
	}
	return held
}

// plan returns the warehouses to draw on, nearest first. Beyond maxPlanned only
// the nearest that have anything are considered first, then the others in turn.
func (s Shelf) plan(wanted map[string]int64, nearest []string) []string {
	ranked := s.ranked(wanted, nearest)
	if len(ranked) > maxPlanned {
		return ranked
	}
	best, bestCost := ranked, len(ranked)<<16|0xffff
	for set := range 1 << len(ranked) {
		// Fewer warehouses count before nearer ones; a set's bits sum up how far it is.
		cost := bits.OnesCount(uint(set))<<16 | set
		if cost < bestCost && s.covers(wanted, ranked, set) {
			best, bestCost = chosen(ranked, set), cost
		}
	}
	return best
}

// ranked lists the warehouses that have anything of wanted: those named, in their
// order, then the others by name.
func (s Shelf) ranked(wanted map[string]int64, nearest []string) []string {
	var list []string
	for sku := range wanted {
		for _, st := range s[sku] {
			if st.Available() > 0 && !slices.Contains(list, st.Warehouse) {
				list = append(list, st.Warehouse)
			}
		}
	}
	rank := func(w string) int {
		if i := slices.Index(nearest, w); i >= 0 {
			return i
		}
		return len(nearest)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	return list
}

func (s Shelf) covers(wanted map[string]int64, ranked []string, set int) bool {
	for sku, n := range wanted {
		for i, warehouse := range ranked {
			if st := s.at(sku, warehouse); set&(1<<i) != 0 && st != nil {
				n -= max(st.Available(), 0)
			}
		}
		if n > 0 {
			return false
		}
	}
	return true
}

func chosen(ranked []string, set int) []string {
	var list []string
	for i, warehouse := range ranked {
		if set&(1<<i) != 0 {
			list = append(list, warehouse)
		}
	}
	return list
}
