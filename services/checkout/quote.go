package checkout

import (
	"context"
	"slices"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
)

// ByQuote has the checkout be of a quote: at its prices, for its customer, and under its
// id. So a quote makes one order at most, and the order that is asked for again, by whatever
// request, is the one that price holds the voucher for.
func (c *Checkout) ByQuote(q *price.Quote) {
	c.Row = aggregate.Row{ID: q.ID, Version: 1}
	c.CustomerID, c.Lines, c.Amount, c.Currency, c.Quote = q.CustomerID, linesOf(q), q.Total, q.Currency, q
}

func linesOf(q *price.Quote) []events.Line {
	lines := make([]events.Line, len(q.Lines))
	for i, l := range q.Lines {
		lines[i] = events.Line{SKU: l.SKU, Quantity: l.Quantity, UnitPrice: l.UnitPrice}
	}
	return lines
}

// extrasOf is what a quote has beside its lines. All its discounts are shared out to lines.
func extrasOf(q *price.Quote) events.Extras {
	x := events.Extras{Adjustments: []events.Adjustment{}, Shipping: q.Shipping, Tax: q.Tax}
	for i, l := range q.Lines {
		for _, a := range l.Adjustments {
			x.Adjustments = append(x.Adjustments, events.Adjustment{Name: a.Name, Amount: a.Amount, Line: i + 1})
		}
	}
	return x
}

// checkQuote refuses a quote that no order can be made of. Once it is over price computes again
// what it costs, with the groups of the quote: these must then still be the caller's. An edge
// knows no groups.
func checkQuote(ctx context.Context, q *price.Quote, now time.Time) error {
	if q.CustomerID == "" {
		return fault.New(fault.Conflict, "quote_of_guest", "The quote is a guest's: sign in, and have the cart quoted again.")
	}
	if q.Total == 0 {
		return fault.New(fault.Conflict, "nothing_to_pay", "The order's total must be more than nothing.")
	}
	if c, known := caller.From(ctx); known && !c.Edge && !q.Valid(now) {
		for _, group := range q.Groups {
			if !slices.Contains(c.Groups, group) {
				return quoteExpired(nil)
			}
		}
	}
	return nil
}

// checkCommitted holds what price committed to against the quote that was presented: the
// same order, for no more.
func checkCommitted(presented, committed *price.Quote) bool {
	return committed.ID == presented.ID && committed.CustomerID == presented.CustomerID &&
		committed.Currency == presented.Currency && committed.Total <= presented.Total
}
