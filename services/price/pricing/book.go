// Package pricing computes what a basket costs, in integers: no clock, no database, no
// network. The same basket, book and time give the same result, today and when the total
// of an old order is computed again.
package pricing

import (
	"cmp"
	"slices"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
)

// Basket is what somebody wants to buy.
type Basket struct {
	Currency string
	// Items may name a SKU several times; together they are one line.
	Items  []Item
	Groups []string
	// Region is where it goes; "" is the shop's own.
	Region string
	// Voucher is a code, or "".
	Voucher string
}

// Item is a number of pieces of a SKU.
type Item struct {
	SKU      string
	Quantity int64
}

// BasketOf returns the basket that a quote was computed from.
func BasketOf(q *price.Quote) Basket {
	b := Basket{Currency: q.Currency, Groups: q.Groups, Region: q.Region, Voucher: q.Voucher}
	for _, l := range q.Lines {
		b.Items = append(b.Items, Item{l.SKU, l.Quantity})
	}
	return b
}

// Book is what the price book says at a revision, as far as a basket needs it.
type Book struct {
	Revision int64
	// Prices are those of the basket's SKUs, in any order.
	Prices     []Price
	Promotions []Promotion
	Taxes      Taxes
	// Shipping is in the order in which it is looked through.
	Shipping []Shipping
	// Voucher is the one that the basket names, or nil where there is none.
	Voucher *Voucher
}

// Period is a time from From on until before Until; nil is without end.
type Period struct {
	From  time.Time  `json:"valid_from"`
	Until *time.Time `json:"valid_until,omitempty"`
}

// Has reports whether the time is in the period.
func (p Period) Has(at time.Time) bool {
	return !at.Before(p.From) && (p.Until == nil || at.Before(*p.Until))
}

// List is the head of a price list.
type List struct {
	// Group is whom it is for; "" is everybody.
	Group    string `json:"group"`
	Currency string `json:"currency"`
	Period
}

// Price is what one piece costs in a list when a customer buys MinQuantity at least.
type Price struct {
	SKU         string
	MinQuantity int64
	Amount      int64
	// ListName is the list's, for explanations.
	ListName string
	List
}

// Shipping is what sending an order costs.
type Shipping struct {
	Region   string `json:"region"`
	Currency string `json:"currency"`
	Amount   int64  `json:"amount"`
	// FreeFrom is the value of the goods, with discounts, from which on it costs nothing; nil
	// is never.
	FreeFrom *int64 `json:"free_from,omitempty"`
}

// UnitPrice is what one piece of a SKU costs a customer.
type UnitPrice struct {
	// Amount is the lowest that any list of the customer's groups or of everybody's says for
	// the quantity. ListPrice is the highest of everybody's lists for one piece.
	Amount, ListPrice int64
	// From is the price that has Amount.
	From Price
}

// Best returns what one piece costs who is in these groups and buys this many, by the
// prices of a SKU in all currencies. Who is in several groups has the best of all of them.
func Best(prices []Price, currency string, groups []string, quantity int64, at time.Time) (best UnitPrice, sold bool) {
	listed, highest := false, int64(0)
	for _, p := range prices {
		if p.Currency != currency || p.MinQuantity > quantity || !p.Has(at) || p.Group != "" && !slices.Contains(groups, p.Group) {
			continue
		}
		if !sold || p.before(best.From) {
			best.From = p
		}
		sold, highest = true, max(highest, p.Amount)
		if p.Group == "" && p.MinQuantity <= 1 {
			best.ListPrice, listed = max(best.ListPrice, p.Amount), true
		}
	}
	best.Amount = best.From.Amount
	if !listed {
		best.ListPrice = highest
	}
	best.ListPrice = max(best.ListPrice, best.Amount)
	return best, sold
}

// before orders prices, the lowest first, so that which one is named does not depend on
// the order in which they are looked at.
func (p Price) before(o Price) bool {
	return cmp.Or(cmp.Compare(p.Amount, o.Amount), cmp.Compare(p.ListName, o.ListName), cmp.Compare(p.MinQuantity, o.MinQuantity)) < 0
}

// Public returns what one piece of a SKU costs everybody at a time, by currency, and until
// when, as far as the book says now.
func Public(prices []Price, at time.Time) []price.Price {
	found := []price.Price{}
	var currencies []string
	for _, p := range prices {
		currencies = append(currencies, p.Currency)
	}
	slices.Sort(currencies)
	for _, currency := range slices.Compact(currencies) {
		now, sold := Best(prices, currency, nil, 1, at)
		if !sold {
			continue
		}
		found = append(found, price.Price{
			Currency: currency, Amount: now.Amount, ListPrice: now.ListPrice,
			ValidFrom: now.From.Period.From.UTC(), ValidUntil: until(prices, now, at),
		})
	}
	return found
}

// until is when everybody's price will be another one, or nil.
func until(prices []Price, now UnitPrice, at time.Time) *time.Time {
	var turns []time.Time
	for _, p := range prices {
		turns = append(turns, p.Period.From)
		if p.Until != nil {
			turns = append(turns, *p.Until)
		}
	}
	slices.SortFunc(turns, time.Time.Compare)
	for _, turn := range turns {
		if !turn.After(at) {
			continue
		}
		then, sold := Best(prices, now.From.Currency, nil, 1, turn)
		if !sold || then.Amount != now.Amount || then.ListPrice != now.ListPrice {
			turn = turn.UTC()
			return &turn
		}
	}
	return nil
}

// sorted returns the items by SKU, each SKU once.
func (b Basket) sorted() ([]Item, error) {
	if len(b.Items) == 0 || len(b.Items) > events.MaxLines {
		return nil, refuse(TooLarge, "A basket has 1 to %d lines.", events.MaxLines)
	}
	quantity := make(map[string]int64, len(b.Items))
	for _, i := range b.Items {
		if i.Quantity < 1 || i.Quantity > events.MaxQuantity {
			return nil, refuse(TooLarge, "A line has 1 to %d pieces.", events.MaxQuantity)
		}
		if quantity[i.SKU] += i.Quantity; quantity[i.SKU] > events.MaxQuantity {
			return nil, refuse(TooLarge, "A basket has %d pieces of a SKU at most.", events.MaxQuantity)
		}
	}
	items := make([]Item, 0, len(quantity))
	for sku, n := range quantity {
		items = append(items, Item{sku, n})
	}
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.SKU, b.SKU) })
	return items, nil
}
