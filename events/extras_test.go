package events_test

import (
	"math"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
)

func TestOrderCreatedV2Validate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*checkout.OrderCreatedV2)
		want   string // part of the error, "" for none
	}{
		{"as it is", func(*checkout.OrderCreatedV2) {}, ""},
		{"no order", func(e *checkout.OrderCreatedV2) { e.OrderID = uuid.Nil }, "order_id"},
		{"no customer", func(e *checkout.OrderCreatedV2) { e.CustomerID = "" }, "customer_id"},
		{"no quote", func(e *checkout.OrderCreatedV2) { e.QuoteID = uuid.Nil }, "quote_id"},
		{"no lines", func(e *checkout.OrderCreatedV2) { e.Lines = nil }, "1 to 1000 lines"},
		{"a bad line", func(e *checkout.OrderCreatedV2) { e.Lines[1].Quantity = 0 }, "line 1: quantity 0"},
		{"the lines' sum only", func(e *checkout.OrderCreatedV2) { e.Total.Amount = 1869 }, "total 1869 is not the sum of lines and extras, 2066"},
		{"without shipping", func(e *checkout.OrderCreatedV2) { e.Shipping = 0 }, "total 2066"},
		{"without tax", func(e *checkout.OrderCreatedV2) { e.Tax = 0 }, "total 2066"},
		{"without a discount", func(e *checkout.OrderCreatedV2) { e.Adjustments = e.Adjustments[1:] }, "total 2066"},
		{"negative tax", func(e *checkout.OrderCreatedV2) { e.Tax, e.Shipping = -1, e.Shipping+e.Tax+1 }, "negative"},
		{"negative shipping", func(e *checkout.OrderCreatedV2) { e.Shipping, e.Tax = -1, e.Shipping+e.Tax+1 }, "negative"},
		{"a nameless discount", func(e *checkout.OrderCreatedV2) { e.Adjustments[0].Name = "" }, "adjustment 0"},
		{"a discount of no line", func(e *checkout.OrderCreatedV2) { e.Adjustments[0].Line = 3 }, "adjustment 0"},
		{"too many adjustments", func(e *checkout.OrderCreatedV2) {
			e.Adjustments = make([]events.Adjustment, events.MaxAdjustments+1)
		}, "5000 adjustments"},
		{"more off than there is", func(e *checkout.OrderCreatedV2) { e.Adjustments[0].Amount = -5000 }, "not within 0"},
		{"a sum that overflows to what fits", func(e *checkout.OrderCreatedV2) {
			e.Shipping, e.Tax = math.MaxInt64, math.MaxInt64
		}, "beyond"},
		{"many large amounts that overflow", func(e *checkout.OrderCreatedV2) {
			e.Adjustments = nil
			for range 19 {
				e.Adjustments = append(e.Adjustments, events.Adjustment{Name: "x", Amount: events.MaxAmount})
			}
		}, "overflows"},
		{"all of it taken off", func(e *checkout.OrderCreatedV2) {
			e.Adjustments, e.Shipping, e.Tax = []events.Adjustment{{Name: "gift", Amount: -1869}}, 0, 0
			e.Total.Amount = 0
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sample[checkout.OrderCreatedV2]()
			c.change(&e)
			wantError(t, e.Validate(), c.want)
		})
	}
}
