package price

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// Quote is what the lines of a cart cost a customer, as price computed it. Package quote of
// platform signs and verifies it. Amounts are in minor units of Currency, without tax
// unless they are called tax. These sums are exact:
//
//	line.Total = line.Quantity * line.UnitPrice + line.Adjustments
//	Adjustments = by name, the sum of the adjustments of the lines
//	Total = Quote.Lines' totals + Shipping + Tax
//	      = Quantity * UnitPrice of all lines + Adjustments + Shipping + Tax
//
// A discount of the whole order is shared out to the lines, so that each line says what is
// paid for it.
type Quote struct {
	// ID names the snapshot of the cart. A quote that price gives instead of another one,
	// since prices fell or time went by, has the same.
	ID uuid.UUID `json:"id"`
	// Version is the revision of the price book that it was computed from.
	Version int64 `json:"version"`
	// CustomerID is the account that may use it; "" is a guest's, with which nothing can be
	// ordered.
	CustomerID string `json:"customer_id,omitempty"`
	CartID     string `json:"cart_id,omitempty"`
	Currency   string `json:"currency"`
	// Region is where taxes and shipping were taken from; "" is everywhere else.
	Region string `json:"region,omitempty"`
	// Lines are by SKU, each once.
	Lines []Line `json:"lines"`
	// Adjustments are those of the lines, added up by name, in the order of their rules.
	Adjustments []Adjustment `json:"adjustments,omitempty"`
	Shipping    int64        `json:"shipping"`
	// Tax is that of the lines and of shipping.
	Tax   int64 `json:"tax"`
	Total int64 `json:"total"`
	// Groups are the customer's, sorted.
	Groups []string `json:"groups,omitempty"`
	// Voucher is the code that was used, which price.Commit holds for the order.
	Voucher   string    `json:"voucher,omitempty"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Line is a line of a quote.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	// ListPrice is what one costs everybody, without any offer.
	ListPrice int64 `json:"list_price"`
	// UnitPrice is the best price of the customer's groups at this quantity.
	UnitPrice   int64        `json:"unit_price"`
	Adjustments []Adjustment `json:"adjustments,omitempty"`
	// Total is what is paid for the line, without tax.
	Total int64 `json:"total"`
	// Tax is the line's part of the quote's tax; what is left of that is shipping's.
	Tax int64 `json:"tax"`
}

// Adjustment is what a rule takes off, as a negative amount.
type Adjustment struct {
	Name   string `json:"name"`
	Amount int64  `json:"amount"`
}

// Valid reports whether the quote holds at a time.
func (q *Quote) Valid(at time.Time) bool { return at.Before(q.ExpiresAt) }

// Money is the total.
func (q *Quote) Money() events.Money { return events.Money{Amount: q.Total, Currency: q.Currency} }

// Validate checks that the sums are exact and nothing is negative or above its list price.
func (q *Quote) Validate() error {
	if q.ID == uuid.Nil || q.Version < 1 || q.IssuedAt.IsZero() || !q.ExpiresAt.After(q.IssuedAt) {
		return errors.New("id, version, issued_at and a later expires_at are required")
	}
	if err := q.Money().Validate(); err != nil {
		return err
	}
	if len(q.Lines) == 0 || len(q.Lines) > events.MaxLines {
		return fmt.Errorf("a quote has 1 to %d lines", events.MaxLines)
	}
	if q.Shipping < 0 || q.Tax < 0 {
		return errors.New("shipping and tax are not negative")
	}
	adjusted := make(map[string]int64)
	sum, taxes := Sum(q.Shipping, q.Tax), int64(0)
	for i, l := range q.Lines {
		if i > 0 && l.SKU <= q.Lines[i-1].SKU {
			return fmt.Errorf("line %d: %q is not behind %q", i, l.SKU, q.Lines[i-1].SKU)
		}
		if err := l.validate(); err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
		for _, a := range l.Adjustments {
			adjusted[a.Name] = Sum(adjusted[a.Name], a.Amount)
		}
		sum, taxes = Sum(sum, l.Total), Sum(taxes, l.Tax)
	}
	if sum != q.Total || taxes > q.Tax {
		return fmt.Errorf("total is %d and tax %d, the lines have %d and %d", q.Total, q.Tax, sum, taxes)
	}
	for _, a := range q.Adjustments {
		if adjusted[a.Name] != a.Amount {
			return fmt.Errorf("adjustment %q is %d, that of the lines %d", a.Name, a.Amount, adjusted[a.Name])
		}
		delete(adjusted, a.Name)
	}
	if len(adjusted) > 0 || !slices.IsSorted(q.Groups) {
		return errors.New("adjustments of lines are missing, or groups are not sorted")
	}
	return nil
}

func (l Line) validate() error {
	switch {
	case l.SKU == "" || l.Quantity < 1 || l.Quantity > events.MaxQuantity:
		return fmt.Errorf("a SKU and a quantity within 1 and %d are required", events.MaxQuantity)
	case l.UnitPrice < 0 || l.UnitPrice > l.ListPrice || l.ListPrice > events.MaxUnitPrice:
		return fmt.Errorf("unit_price %d is not within 0 and the list price %d", l.UnitPrice, l.ListPrice)
	case l.Total < 0 || l.Tax < 0:
		return errors.New("total and tax are not negative")
	}
	sum := l.Quantity * l.UnitPrice
	for _, a := range l.Adjustments {
		if a.Name == "" || a.Amount >= 0 {
			return fmt.Errorf("adjustment %q takes off %d", a.Name, -a.Amount)
		}
		sum = Sum(sum, a.Amount)
	}
	if sum != l.Total {
		return fmt.Errorf("total is %d, the sum %d", l.Total, sum)
	}
	return nil
}

// Sum adds, and stays at the bounds of int64 where it would leave them, so that a sum that
// does not fit equals no total.
func Sum(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}
