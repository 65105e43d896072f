package pricing

import (
	"fmt"
	"slices"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
)

// Step is one thing that was decided on the way to a total.
type Step struct {
	// What is price, promotion, skipped, shipping or tax.
	What string `json:"what"`
	// Rule is the price list, the rule or the rate.
	Rule string `json:"rule"`
	// SKU is the line that it is about; "" is all of the order.
	SKU    string `json:"sku,omitempty"`
	Amount int64  `json:"amount"`
	// Why says why something was not done.
	Why string `json:"why,omitempty"`
}

// Compute returns what a basket costs: a quote without id, owner and times. A basket that
// cannot be bought is a Refusal.
func Compute(basket Basket, book *Book, at time.Time) (*price.Quote, error) {
	return compute(basket, book, at, nil)
}

// Explain computes a quote again, by the book as it was, and tells each step.
func Explain(q *price.Quote, book *Book) ([]Step, *price.Quote, error) {
	steps := []Step{}
	again, err := compute(BasketOf(q), book, q.IssuedAt, func(s Step) { steps = append(steps, s) })
	return steps, again, err
}

// Same reports whether two quotes ask the same for the same.
func Same(a, b *price.Quote) bool {
	same := func(a, b price.Line) bool {
		return a.SKU == b.SKU && a.Quantity == b.Quantity && a.ListPrice == b.ListPrice && a.UnitPrice == b.UnitPrice &&
			a.Total == b.Total && a.Tax == b.Tax && slices.Equal(a.Adjustments, b.Adjustments)
	}
	return a.Total == b.Total && a.Tax == b.Tax && a.Shipping == b.Shipping && a.Currency == b.Currency &&
		slices.Equal(a.Adjustments, b.Adjustments) && slices.EqualFunc(a.Lines, b.Lines, same)
}

// computation is a quote under way.
type computation struct {
	*price.Quote
	checked
	basket Basket
	at     time.Time
	// closed are lines that an exclusive rule keeps others from.
	closed []bool
	told   func(Step)
}

func (c *computation) tell(s Step) {
	if c.told != nil {
		c.told(s)
	}
}

func compute(basket Basket, book *Book, at time.Time, told func(Step)) (*price.Quote, error) {
	groups := slices.Clone(basket.Groups)
	slices.Sort(groups)
	c := &computation{basket: basket, at: at, told: told, Quote: &price.Quote{
		Version: book.Revision, Currency: basket.Currency, Region: basket.Region, Groups: slices.Compact(groups), Voucher: basket.Voucher,
	}}
	items, err := basket.sorted()
	if err != nil {
		return nil, err
	}
	if err := c.price(items, book); err != nil {
		return nil, err
	}
	rules, err := book.sortedRules(basket, at)
	if err != nil {
		return nil, err
	}
	if err := c.apply(rules); err != nil {
		return nil, err
	}
	c.ship(book.Shipping)
	c.tax(book.Taxes)
	return c.finish()
}

// price adds the lines at the best price of the customer.
func (c *computation) price(items []Item, book *Book) error {
	prices := make(map[string][]Price, len(items))
	for _, p := range book.Prices {
		prices[p.SKU] = append(prices[p.SKU], p)
	}
	c.Lines, c.closed = make([]price.Line, len(items)), make([]bool, len(items))
	var missing []string
	for i, item := range items {
		best, sold := Best(prices[item.SKU], c.Currency, c.Groups, item.Quantity, c.at)
		if !sold {
			missing = append(missing, item.SKU)
			continue
		}
		if best.Amount < 0 || best.ListPrice > events.MaxUnitPrice {
			return refuse(TooLarge, "The price of %s is not within 0 and %d.", item.SKU, events.MaxUnitPrice)
		}
		c.Lines[i] = price.Line{
			SKU: item.SKU, Quantity: item.Quantity, ListPrice: best.ListPrice, UnitPrice: best.Amount,
			Total: c.times(best.Amount, item.Quantity),
		}
		c.tell(Step{What: "price", Rule: best.From.ListName, SKU: item.SKU, Amount: best.Amount})
	}
	if len(missing) > 0 {
		r := refuse(NoPrice, "Some of this is not sold in %s now.", c.Currency)
		r.SKUs = missing
		return r
	}
	return c.err()
}

// apply applies rules in their order.
func (c *computation) apply(rules []rule) error {
	for _, r := range rules {
		off, why := c.off(r)
		var sum int64
		for i, amount := range off {
			if amount == 0 {
				continue
			}
			l := &c.Lines[i]
			if amount < 0 || amount > l.Total {
				return fmt.Errorf("%s: %w", r.name, errOpen)
			}
			l.Total -= amount
			l.Adjustments = append(l.Adjustments, price.Adjustment{Name: r.name, Amount: -amount})
			c.closed[i] = c.closed[i] || r.Exclusive
			sum = c.add(sum, amount)
			c.tell(Step{What: "promotion", Rule: r.name, SKU: l.SKU, Amount: -amount})
		}
		switch {
		case sum > 0:
			c.Adjustments = append(c.Adjustments, price.Adjustment{Name: r.name, Amount: -sum})
		case r.name == VoucherPrefix+c.Voucher && c.Voucher != "":
			return notApplicable(c.Voucher)
		default:
			c.tell(Step{What: "skipped", Rule: r.name, Why: why})
		}
	}
	return c.err()
}

// off returns what a rule takes off each line, and why that is nothing, if it is.
func (c *computation) off(r rule) (off []int64, why string) {
	left := make([]int64, len(c.Lines))
	var subtotal int64
	for i, l := range c.Lines {
		if !c.closed[i] && l.Quantity >= r.MinQuantity && (len(r.SKUs) == 0 || slices.Contains(r.SKUs, l.SKU)) {
			left[i] = l.Total
			subtotal = c.add(subtotal, l.Total)
		}
	}
	why = "none of its lines has anything left to take off"
	if !r.ofOrder() {
		for i := range left {
			left[i] = min(left[i], c.offLine(r, c.Lines[i], left[i]))
		}
		return left, why
	}
	if subtotal < r.MinSubtotal {
		return nil, fmt.Sprintf("its lines come to %d, and it wants %d", subtotal, r.MinSubtotal)
	}
	amount := min(r.Amount, subtotal)
	if r.Kind == OrderPercentage {
		amount = r.Rounding.of(subtotal, r.Rate)
	}
	return share(amount, left), why
}

// offLine returns what a rule takes off a line that has an amount left. It may be more than
// that.
func (c *computation) offLine(r rule, l price.Line, left int64) int64 {
	switch {
	case left == 0:
		return 0
	case r.Kind == Percentage:
		return r.Rounding.of(left, r.Rate)
	case r.Kind == Amount:
		return c.times(r.Amount, l.Quantity)
	}
	set := c.add(r.Buy, r.Get)
	pieces := l.Quantity/set*r.Get + max(0, l.Quantity%set-r.Buy)
	return r.Rounding.of(c.times(l.UnitPrice, pieces), r.Rate)
}

// ship adds what sending costs, by the nearest region that has a rate, and the first of that
// region.
func (c *computation) ship(rates []Shipping) {
	var goods int64
	for _, l := range c.Lines {
		goods = c.add(goods, l.Total)
	}
	for _, region := range wider(c.Region) {
		for _, s := range rates {
			if s.Region != region || s.Currency != c.Currency {
				continue
			}
			if s.FreeFrom == nil || goods < *s.FreeFrom {
				c.Shipping = s.Amount
			}
			c.tell(Step{What: "shipping", Rule: region, Amount: c.Shipping})
			return
		}
	}
}

func (c *computation) finish() (*price.Quote, error) {
	c.Total = c.add(c.Shipping, c.Tax)
	adjustments := 0
	for _, l := range c.Lines {
		c.Total = c.add(c.Total, l.Total)
		adjustments += len(l.Adjustments)
	}
	c.tooLarge = c.tooLarge || c.Total > events.MaxAmount || adjustments > events.MaxAdjustments
	if err := c.err(); err != nil {
		return nil, err
	}
	if c.Total == 0 {
		return nil, refuse(NothingToPay, "The order's total must be more than nothing.")
	}
	return c.Quote, nil
}
