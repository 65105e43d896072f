package events_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/events"
)

func TestCheckLines(t *testing.T) {
	for _, c := range []struct {
		name        string
		lines       []events.Line
		field, code string
	}{
		{"one", []events.Line{{SKU: "TEA", Quantity: 1, UnitPrice: 1}}, "", ""},
		{"one is for nothing", []events.Line{{SKU: "TEA", Quantity: 1, UnitPrice: 1}, {SKU: "CUP", Quantity: 1}}, "", ""},
		{"none", nil, "lines", "out_of_range"},
		{"too many", slices.Repeat([]events.Line{{SKU: "TEA", Quantity: 1, UnitPrice: 1}}, events.MaxLines+1), "lines", "out_of_range"},
		{"all for nothing", []events.Line{{SKU: "TEA", Quantity: 1}}, "lines", "nothing_to_pay"},
		{"a quantity of none", []events.Line{{SKU: "TEA", Quantity: 1}, {SKU: "TEA"}}, "lines[1].quantity", "out_of_range"},
		{"too much", []events.Line{{SKU: "TEA", Quantity: events.MaxQuantity + 1}}, "lines[0].quantity", "out_of_range"},
		{"too dear", []events.Line{{SKU: "TEA", Quantity: 1, UnitPrice: events.MaxUnitPrice + 1}}, "lines[0].unit_price", "out_of_range"},
		{"no SKU", []events.Line{{Quantity: 1, UnitPrice: 1}}, "lines[0].sku", "malformed"},
		{"a long SKU", []events.Line{{SKU: strings.Repeat("x", 65), Quantity: 1, UnitPrice: 1}}, "lines[0].sku", "malformed"},
	} {
		err := events.CheckLines(c.lines)
		v, ok := errors.AsType[*events.Violation](err)
		if ok != (c.code != "") || ok && (v.Field != c.field || v.Code != c.code || v.Message == "") {
			t.Errorf("%s: %v, want %s %s", c.name, err, c.field, c.code)
		}
	}
}
