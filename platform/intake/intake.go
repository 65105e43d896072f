// Package intake checks what every service that takes orders in asks of them, so
// that the same fault has the same code and field everywhere.
package intake

import (
	"fmt"
	"net/http"
	"regexp"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// OrderID returns the order that the request's path names.
func OrderID(r *http.Request) (uuid.UUID, error) {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return id, fault.Field("id", "not_a_uuid", "An order id is a UUID.")
	}
	return id, nil
}

// ValidName reports whether s may be an id that comes from outside: a SKU, a
// warehouse, a customer.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// Name checks the id in a field.
func Name(field, value string) error {
	if !ValidName(value) {
		return fault.Field(field, "malformed", "%s is 1 to 64 of A-Z a-z 0-9 . _ -.", field)
	}
	return nil
}

// Lines checks an order's lines, which must come to more than nothing.
func Lines(lines []events.Line) error {
	if len(lines) == 0 || len(lines) > events.MaxLines {
		return fault.Field("lines", "out_of_range", "An order has 1 to %d lines.", events.MaxLines)
	}
	for i, l := range lines {
		if err := line(fmt.Sprintf("lines[%d].", i), l); err != nil {
			return err
		}
	}
	if Total(lines) == 0 {
		return fault.Field("lines", "nothing_to_pay", "The order's total must be more than nothing.")
	}
	return nil
}

func line(field string, l events.Line) error {
	switch {
	case l.Quantity < 1 || l.Quantity > events.MaxQuantity:
		return fault.Field(field+"quantity", "out_of_range", "quantity is a number from 1 to %d.", events.MaxQuantity)
	case l.UnitPrice < 0 || l.UnitPrice > events.MaxUnitPrice:
		return fault.Field(field+"unit_price", "out_of_range", "unit_price is a number from 0 to %d, in minor units.", events.MaxUnitPrice)
	default:
		return Name(field+"sku", l.SKU)
	}
}

// Total adds up lines, in minor units.
func Total(lines []events.Line) (sum int64) {
	for _, l := range lines {
		sum += l.Quantity * l.UnitPrice
	}
	return sum
}
