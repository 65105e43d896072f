package pricing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Taxes is the port to what knows taxes. TaxTable is the one that is used where nothing
// else is configured.
type Taxes interface {
	// Rate returns the rate, 0 to Whole, of a SKU that goes to a region, or that of shipping
	// where sku is "".
	Rate(region, sku string, at time.Time) TaxRate
}

// TaxRate is a rate, and how the tax on all that has it is rounded.
type TaxRate struct {
	Rate     int64
	Rounding Rounding
}

// TaxTable has the taxes of regions, in the order in which it is looked through.
type TaxTable []RegionTax

// RegionTax is the tax of a region from some time on.
type RegionTax struct {
	// Region is a country, such as GB, or a part of one, such as GB-NIR; "" is the shop's own.
	Region   string   `json:"region"`
	Rate     int64    `json:"rate"`
	Rounding Rounding `json:"rounding,omitempty"`
	// Exceptions are SKUs with another rate.
	Exceptions []TaxException `json:"exceptions,omitempty"`
	Period
}

// TaxException is a rate of some SKUs.
type TaxException struct {
	Rate int64    `json:"rate"`
	SKUs []string `json:"skus"`
}

// Check checks a tax that somebody wants to set.
func (t *RegionTax) Check() error {
	if err := checkRate("rate", t.Rate); err != nil {
		return err
	}
	if err := t.Rounding.Check(); err != nil {
		return violation("rounding", "malformed", "rounding is half_even, half_up, down or up.")
	}
	if len(t.Exceptions) > MaxGroups {
		return violation("exceptions", "out_of_range", fmt.Sprintf("exceptions are %d at most.", MaxGroups))
	}
	for i, e := range t.Exceptions {
		field := fmt.Sprintf("exceptions[%d].", i)
		if err := cmp.Or(checkRate(field+"rate", e.Rate), checkNames(field+"skus", e.SKUs, MaxSKUs)); err != nil {
			return err
		}
	}
	return t.Period.Check()
}

func checkRate(field string, rate int64) error {
	if rate < 0 || rate > Whole {
		return violation(field, "out_of_range", fmt.Sprintf("%s is a number from 0 to %d, in millionths.", field, Whole))
	}
	return nil
}

// Rate implements Taxes. A part of a country without a tax of its own has that of the
// country. Of several that are valid the one that is so since the latest counts, of these the
// highest, and of these the first.
func (t TaxTable) Rate(region, sku string, at time.Time) TaxRate {
	for _, r := range wider(region) {
		var newest *RegionTax
		for i := range t {
			if t[i].Region == r && t[i].Has(at) && (newest == nil || t[i].newer(newest)) {
				newest = &t[i]
			}
		}
		if newest != nil {
			return newest.of(sku)
		}
	}
	return TaxRate{}
}

func (t *RegionTax) newer(o *RegionTax) bool {
	return cmp.Or(t.From.Compare(o.From), cmp.Compare(t.Rate, o.Rate)) > 0
}

func (t *RegionTax) of(sku string) TaxRate {
	for _, e := range t.Exceptions {
		if sku != "" && slices.Contains(e.SKUs, sku) {
			return TaxRate{e.Rate, t.Rounding}
		}
	}
	return TaxRate{t.Rate, t.Rounding}
}

// wider lists a region, its country and the shop's own.
func wider(region string) []string {
	country, _, part := strings.Cut(region, "-")
	switch {
	case region == "":
		return []string{""}
	case part:
		return []string{region, country, ""}
	default:
		return []string{region, ""}
	}
}

// tax adds the taxes of the lines and of shipping: for each rate the tax on all that has
// it, shared out, so that rounding costs less than a minor unit for each rate.
func (c *computation) tax(taxes Taxes) {
	byRate := make(map[TaxRate][]int)
	var rates []TaxRate
	weights := make([]int64, len(c.Lines)+1) // shipping comes last
	for i := range weights {
		sku := ""
		if i < len(c.Lines) {
			sku, weights[i] = c.Lines[i].SKU, c.Lines[i].Total
		} else {
			weights[i] = c.Shipping
		}
		rate := taxes.Rate(c.basket.Region, sku, c.at)
		if byRate[rate] == nil {
			rates = append(rates, rate)
		}
		byRate[rate] = append(byRate[rate], i)
	}
	for _, rate := range rates {
		c.taxAt(rate, byRate[rate], weights)
	}
}

func (c *computation) taxAt(rate TaxRate, members []int, weights []int64) {
	var sum int64
	taxed := make([]int64, len(members))
	for n, i := range members {
		taxed[n] = weights[i]
		sum = c.add(sum, weights[i])
	}
	if c.tooLarge {
		return
	}
	tax := rate.Rounding.of(sum, rate.Rate)
	for n, part := range share(tax, taxed) {
		if i := members[n]; i < len(c.Lines) {
			c.Lines[i].Tax = part
		}
	}
	c.Tax = c.add(c.Tax, tax)
	if rate.Rate > 0 {
		c.tell(Step{What: "tax", Rule: fmt.Sprintf("%d of a million", rate.Rate), Amount: tax})
	}
}
