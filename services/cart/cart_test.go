package cart

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/cart"
)

var epoch = time.Date(2026, 6, 14, 9, 30, 0, 0, time.UTC)

// linesOf draws up to 6 lines of SKUs a to h.
func linesOf(t *rapid.T, label string) []Line {
	lines := []Line{}
	for sku, n := range rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}), rapid.Int64Range(1, 9), 0, 6).Draw(t, label) {
		lines = append(lines, Line{SKU: sku, Quantity: n})
	}
	slices.SortFunc(lines, func(a, b Line) int { return int(a.SKU[0]) - int(b.SKU[0]) })
	return lines
}

// partOf draws what of lines is being ordered.
func partOf(t *rapid.T, label string, lines []Line) (part []Line) {
	for _, l := range lines {
		if n := rapid.Int64Range(0, l.Quantity).Draw(t, label+" "+l.SKU); n > 0 {
			part = append(part, Line{SKU: l.SKU, Quantity: n})
		}
	}
	return part
}

func asMap(lines []Line) map[string]int64 {
	m := make(map[string]int64)
	for _, l := range lines {
		m[l.SKU] = l.Quantity
	}
	return m
}

// Whatever is in the carts and being ordered: of what nobody is ordering the customer has
// the higher quantity afterwards, nothing is lost, and merging again changes nothing, also
// when the customer has taken out what was merged.
func TestMergeKeepsTheHigherQuantity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own, guest := &Cart{Lines: linesOf(t, "own")}, &Cart{Lines: linesOf(t, "guest")}
		inOrder, guestInOrder := partOf(t, "ordered", own.Lines), partOf(t, "ordered by the guest", guest.Lines)
		ownBefore, guestBefore := asMap(Free(own.Lines, inOrder)), asMap(Free(guest.Lines, guestInOrder))
		own.Merge(guest, inOrder, guestInOrder, epoch)

		after := asMap(Free(own.Lines, inOrder))
		for _, sku := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			if want := max(ownBefore[sku], guestBefore[sku]); after[sku] != want {
				t.Errorf("%s: %d are free, want %d", sku, after[sku], want)
			}
			if left, want := quantity(guest.Lines, sku), quantity(guestInOrder, sku); left != want {
				t.Errorf("%s: %d stay in the guest's cart, want the %d that are being ordered", sku, left, want)
			}
		}
		own.Lines = []Line{}
		own.Merge(guest, inOrder, guestInOrder, epoch)
		if len(own.Lines) > 0 {
			t.Errorf("merging again brings back %v", own.Lines)
		}
	})
}

// An order that is confirmed takes what it is made of, and nothing that was added meanwhile;
// one that is cancelled leaves all in the cart, free.
func TestAnOrderTakesOnlyItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, added := linesOf(t, "cart"), linesOf(t, "added meanwhile")
		ordered := partOf(t, "ordered", before)
		c := &Cart{Lines: add(before, added)}
		for _, l := range Free(c.Lines, ordered) {
			if want := quantity(before, l.SKU) + quantity(added, l.SKU) - quantity(ordered, l.SKU); l.Quantity != want {
				t.Errorf("%s: %d may be ordered meanwhile, want %d", l.SKU, l.Quantity, want)
			}
		}
		o := &Ordering{}
		id := uuid.New()
		events := []func() bool{
			func() bool { return o.Begin(id, ordered) },
			func() bool { return o.End(Confirmed) },
		}
		if rapid.Bool().Draw(t, "the end is heard first") {
			slices.Reverse(events)
		}
		for _, hear := range slices.Concat(events, events) {
			if hear() {
				c.Bought(o.Lines, epoch)
			}
		}
		for _, sku := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			if got, want := quantity(c.Lines, sku), quantity(before, sku)+quantity(added, sku)-quantity(ordered, sku); got != want {
				t.Errorf("%s: %d are left, want %d", sku, got, want)
			}
		}
	})
}

// A full cart takes no more lines, and what does not fit of a guest's stays there.
func TestAFullCart(t *testing.T) {
	own, guest := &Cart{Lines: []Line{}}, &Cart{Lines: []Line{{SKU: "s0", Quantity: 9}, {SKU: "new", Quantity: 2}}}
	for i := range cart.MaxLines {
		if err := own.Set("s"+string(rune('0'+i%10))+string(rune('0'+i/10%10))+string(rune('0'+i/100)), 1, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.Set("new", 1, epoch); err == nil {
		t.Errorf("a cart has taken %d lines", len(own.Lines))
	}
	own.Lines[0].SKU = "s0"
	own.Merge(guest, nil, nil, epoch)
	if len(own.Lines) != cart.MaxLines || quantity(own.Lines, "s0") != 9 || !slices.Equal(guest.Lines, []Line{{SKU: "new", Quantity: 2}}) {
		t.Errorf("merged %d lines, %d of s0; left %v", len(own.Lines), quantity(own.Lines, "s0"), guest.Lines)
	}
	if err := own.Set("s0", 0, epoch); err != nil {
		t.Fatal(err)
	}
	own.Merge(guest, nil, nil, epoch)
	if quantity(own.Lines, "new") != 2 || len(guest.Lines) > 0 {
		t.Errorf("with room again the cart has %d of it, and %v are left", quantity(own.Lines, "new"), guest.Lines)
	}
}

func TestQuantitiesAreBounded(t *testing.T) {
	c := &Cart{Lines: []Line{}}
	for _, n := range []int64{-1, events.MaxQuantity + 1} {
		if err := c.Set("a", n, epoch); err == nil {
			t.Errorf("a line took the quantity %d", n)
		}
	}
	for _, sku := range []string{"", "a b", "ä"} {
		if err := c.Set(sku, 1, epoch); err == nil {
			t.Errorf("a line took the SKU %q", sku)
		}
	}
}
