package events

import (
	"errors"
	"fmt"
	"math"
)

// Adjustment changes what lines come to: a discount takes from it, a surcharge adds. The
// amount is in minor units of the order's currency.
type Adjustment struct {
	Name   string `json:"name"`
	Amount int64  `json:"amount"`
	// Line is the line that it changes, counted from 1; 0 is the order as a whole.
	Line int `json:"line"`
}

// Extras are what an order costs beside its lines. The total of an order is the sum of
// its lines, adjustments, shipping and tax.
type Extras struct {
	Adjustments []Adjustment `json:"adjustments"`
	Shipping    int64        `json:"shipping"`
	Tax         int64        `json:"tax"`
}

// Bounds of what an order costs beside its lines.
const (
	MaxAdjustments = 5 * MaxLines
	MaxAmount      = MaxLines * MaxQuantity * MaxUnitPrice
)

// Sum adds up what an order costs, in minor units. It fails where that is less than
// nothing or more than lines alone can come to.
func Sum(lines []Line, x Extras) (int64, error) {
	sum := Total(lines)
	for _, part := range x.parts() {
		// Both are within an int64 by far, and so is what they come to.
		if part < -MaxAmount || part > MaxAmount {
			return 0, fmt.Errorf("an amount of %d is beyond %d", part, int64(MaxAmount))
		}
		if sum += part; sum > math.MaxInt64-MaxAmount || sum < math.MinInt64+MaxAmount {
			return 0, errors.New("the sum overflows")
		}
	}
	if sum < 0 || sum > MaxAmount {
		return 0, fmt.Errorf("the sum, %d, is not within 0 and %d", sum, int64(MaxAmount))
	}
	return sum, nil
}

func (x Extras) parts() []int64 {
	parts := []int64{x.Shipping, x.Tax}
	for _, a := range x.Adjustments {
		parts = append(parts, a.Amount)
	}
	return parts
}

// ValidateOrder checks the lines of an order and what it costs beside them, whose sum is
// its total.
func ValidateOrder(lines []Line, x Extras, total Money) error {
	if len(lines) == 0 || len(lines) > MaxLines {
		return fmt.Errorf("an order has 1 to %d lines", MaxLines)
	}
	for i, l := range lines {
		if err := l.validate(); err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
	}
	if len(x.Adjustments) > MaxAdjustments {
		return fmt.Errorf("an order has %d adjustments at most", MaxAdjustments)
	}
	for i, a := range x.Adjustments {
		if a.Name == "" || a.Line < 0 || a.Line > len(lines) {
			return fmt.Errorf("adjustment %d: a name and a line of the order are required", i)
		}
	}
	if x.Shipping < 0 || x.Tax < 0 {
		return fmt.Errorf("shipping %d or tax %d is negative", x.Shipping, x.Tax)
	}
	sum, err := Sum(lines, x)
	if err != nil {
		return err
	}
	if sum != total.Amount {
		return fmt.Errorf("total %d is not the sum of lines and extras, %d", total.Amount, sum)
	}
	return nil
}
