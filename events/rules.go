package events

import (
	"fmt"
	"regexp"
)

// Violation says which rule of the published language a request breaks, and where, so
// that the same fault has the same code at every service. The kit answers it as a
// problem with status 400.
type Violation struct {
	// Field is the path of the input, such as "lines[2].quantity".
	Field string
	// Code is for programs, Message for people.
	Code, Message string
}

func (v *Violation) Error() string { return v.Field + ": " + v.Code + ": " + v.Message }

func violation(field, code, format string, args ...any) error {
	return &Violation{Field: field, Code: code, Message: fmt.Sprintf(format, args...)}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidName reports whether s may be an id that comes from outside: a SKU, a
// warehouse, a customer.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// CheckName checks the id in a field.
func CheckName(field, value string) error {
	if !ValidName(value) {
		return violation(field, "malformed", "%s is 1 to 64 of A-Z a-z 0-9 . _ -.", field)
	}
	return nil
}

// CheckLines checks the lines of an order that somebody wants to place, which must come
// to more than nothing.
func CheckLines(lines []Line) error {
	if len(lines) == 0 || len(lines) > MaxLines {
		return violation("lines", "out_of_range", "An order has 1 to %d lines.", MaxLines)
	}
	for i, l := range lines {
		if err := l.check(fmt.Sprintf("lines[%d].", i)); err != nil {
			return err
		}
	}
	if Total(lines) == 0 {
		return violation("lines", "nothing_to_pay", "The order's total must be more than nothing.")
	}
	return nil
}

func (l Line) check(field string) error {
	switch {
	case l.Quantity < 1 || l.Quantity > MaxQuantity:
		return violation(field+"quantity", "out_of_range", "quantity is a number from 1 to %d.", MaxQuantity)
	case l.UnitPrice < 0 || l.UnitPrice > MaxUnitPrice:
		return violation(field+"unit_price", "out_of_range", "unit_price is a number from 0 to %d, in minor units.", MaxUnitPrice)
	default:
		return CheckName(field+"sku", l.SKU)
	}
}

// Total adds up lines, in minor units. Of lines within the bounds it fits an int64.
func Total(lines []Line) (sum int64) {
	for _, l := range lines {
		sum += l.Quantity * l.UnitPrice
	}
	return sum
}
