package cart

import (
	"fmt"
	"maps"
	"testing"

	"quadrille.internal/platform/servicetest"
)

// While the next version adds its columns, carts are changed and merged as before.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	customer, n := f.customer(t, api, "c1"), int64(0)
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		guest := f.guest(t, api)
		n++
		guest.put("a", fmt.Sprint(n))
		customer.merge(guest)
		if got := customer.lines(); !maps.Equal(got, map[string]int64{"a": n}) {
			t.Fatalf("the cart has %v, want %d", got, n)
		}
		f.age(t, "1 hour")
		f.sweep(t)
	})
}
