package pricing

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// Whole is the rate of everything: rates are in millionths.
const Whole = 1_000_000

// Rounding names how a fraction of a minor unit is rounded.
type Rounding string

// The roundings. HalfEven is the one where none is named.
const (
	HalfEven Rounding = "half_even"
	HalfUp   Rounding = "half_up"
	Down     Rounding = "down"
	Up       Rounding = "up"
)

// Check reports whether there is such a rounding; "" is HalfEven.
func (r Rounding) Check() error {
	switch r {
	case "", HalfEven, HalfUp, Down, Up:
		return nil
	default:
		return fmt.Errorf("there is no rounding %q", string(r))
	}
}

// of returns a rate, 0 to Whole, of an amount that is not negative. The product has 128
// bits, so nothing is lost before it is rounded.
func (r Rounding) of(amount, rate int64) int64 {
	high, low := bits.Mul64(uint64(amount), uint64(rate)) //nolint:gosec // neither is negative
	quotient, rest := bits.Div64(high, low, Whole)
	up := false
	switch r {
	case Down:
	case Up:
		up = rest > 0
	case HalfUp:
		up = 2*rest >= Whole
	default:
		up = 2*rest > Whole || 2*rest == Whole && quotient%2 == 1
	}
	if up {
		quotient++
	}
	return int64(quotient) //nolint:gosec // the rate is Whole at most, so it is amount at most
}

// share divides an amount among parts in proportion to their weights, by the largest
// remainder; of equal remainders the earlier part has the unit that is left. The shares
// add up to amount, and none is above its weight where amount is not above their sum.
func share(amount int64, weights []int64) []int64 {
	shares := make([]int64, len(weights))
	var sum uint64
	for _, w := range weights {
		sum += uint64(w) //nolint:gosec // not negative
	}
	if amount == 0 || sum == 0 {
		return shares
	}
	rests := make([]uint64, len(weights))
	left := amount
	for i, w := range weights {
		high, low := bits.Mul64(uint64(amount), uint64(w)) //nolint:gosec // neither is negative
		quotient, rest := bits.Div64(high, low, sum)
		shares[i], rests[i] = int64(quotient), rest //nolint:gosec // amount at most
		left -= shares[i]
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rests[b], rests[a]) })
	for _, i := range order[:left] {
		shares[i]++
	}
	return shares
}
