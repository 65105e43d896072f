package pricing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"quadrille.internal/events"
)

// Kind is what a rule does.
type Kind string

// The kinds. The first three work on each line by itself; those that begin with order work
// on all lines of the rule together, after them.
const (
	Percentage      Kind = "percentage"       // Rate off the line
	Amount          Kind = "amount"           // Amount off each piece
	BuyXGetY        Kind = "buy_x_get_y"      // of Buy+Get pieces, Rate off Get of them
	OrderPercentage Kind = "order_percentage" // Rate off the order
	OrderAmount     Kind = "order_amount"     // Amount off the order
)

// Rule takes something off. All rules have one order, in which they are applied: those of
// lines before those of the order; then by Priority, the highest first; then by name. Each
// works on what the ones before it left, and takes no more than that.
type Rule struct {
	Kind     Kind  `json:"kind"`
	Priority int64 `json:"priority"`
	// Exclusive keeps the rules that come after it from the lines that it took something off.
	Exclusive bool `json:"exclusive"`
	// SKUs are those it is about; none means all.
	SKUs []string `json:"skus,omitempty"`
	// Groups are those whose customers have it; none means everybody. One of them is enough.
	Groups []string `json:"groups,omitempty"`
	// Currency is that of its amounts. A rule without amounts may leave it out.
	Currency string `json:"currency,omitempty"`
	// MinQuantity is how many pieces a line must have; MinSubtotal what the lines of a rule
	// of the order must come to, before it.
	MinQuantity int64    `json:"min_quantity,omitempty"`
	MinSubtotal int64    `json:"min_subtotal,omitempty"`
	Rate        int64    `json:"rate,omitempty"`
	Amount      int64    `json:"amount,omitempty"`
	Buy         int64    `json:"buy,omitempty"`
	Get         int64    `json:"get,omitempty"`
	Rounding    Rounding `json:"rounding,omitempty"`
	Period
}

// Promotion is a rule that needs no voucher.
type Promotion struct {
	Name string `json:"name"`
	Rule
}

// Voucher is a rule that applies to who knows its code.
type Voucher struct {
	Code string `json:"code"`
	Rule
}

// VoucherPrefix begins the names of vouchers' adjustments, which no promotion can have.
const VoucherPrefix = "voucher:"

// Bounds of a rule.
const (
	MaxSKUs     = 1_000
	MaxGroups   = 100
	MaxPriority = 1_000_000
)

// Violation is a fault of a document, in one of its fields.
type Violation = events.Violation

func violation(field, code, message string) error {
	return &Violation{Field: field, Code: code, Message: message}
}

// Check checks a rule that somebody wants to make.
func (r *Rule) Check() error {
	checks := []error{r.checkKind(), r.checkScope(), r.Period.Check()}
	if err := r.Rounding.Check(); err != nil {
		checks = append(checks, violation("rounding", "malformed", "rounding is half_even, half_up, down or up."))
	}
	return cmp.Or(checks...)
}

func (r *Rule) checkKind() error {
	rate, amount, pieces := false, false, false
	switch r.Kind {
	case Percentage, OrderPercentage:
		rate = true
	case Amount, OrderAmount:
		amount = true
	case BuyXGetY:
		rate, pieces = true, true
	default:
		return violation("kind", "malformed", "kind is percentage, amount, buy_x_get_y, order_percentage or order_amount.")
	}
	for _, f := range []struct {
		field  string
		value  int64
		wanted bool
		most   int64
	}{
		{"rate", r.Rate, rate, Whole}, {"amount", r.Amount, amount, events.MaxUnitPrice},
		{"buy", r.Buy, pieces, events.MaxQuantity}, {"get", r.Get, pieces, events.MaxQuantity},
	} {
		switch {
		case f.wanted && (f.value < 1 || f.value > f.most):
			return violation(f.field, "out_of_range", fmt.Sprintf("%s is a number from 1 to %d.", f.field, f.most))
		case !f.wanted && f.value != 0:
			return violation(f.field, "out_of_range", fmt.Sprintf("%s is not part of this kind.", f.field))
		}
	}
	if (amount || r.MinSubtotal > 0) != (r.Currency != "") || r.Currency != "" && !events.ValidCurrency(r.Currency) {
		return violation("currency", "malformed", "A rule with amounts says their currency, an ISO 4217 code; others have none.")
	}
	return nil
}

func (r *Rule) checkScope() error {
	switch {
	case r.Priority < -MaxPriority || r.Priority > MaxPriority:
		return violation("priority", "out_of_range", fmt.Sprintf("priority is a number from -%d to %[1]d.", MaxPriority))
	case r.MinQuantity < 0 || r.MinQuantity > events.MaxQuantity || r.MinQuantity > 0 && r.ofOrder():
		return violation("min_quantity", "out_of_range", fmt.Sprintf("min_quantity is a number from 0 to %d, of rules of lines.", events.MaxQuantity))
	case r.MinSubtotal < 0 || r.MinSubtotal > events.MaxUnitPrice || r.MinSubtotal > 0 && !r.ofOrder():
		return violation("min_subtotal", "out_of_range", fmt.Sprintf("min_subtotal is a number from 0 to %d, of rules of the order.", events.MaxUnitPrice))
	}
	return cmp.Or(checkNames("skus", r.SKUs, MaxSKUs), checkNames("groups", r.Groups, MaxGroups))
}

func checkNames(field string, names []string, most int) error {
	if len(names) > most {
		return violation(field, "out_of_range", fmt.Sprintf("%s are %d at most.", field, most))
	}
	for i, name := range names {
		if err := events.CheckName(fmt.Sprintf("%s[%d]", field, i), name); err != nil {
			return err
		}
	}
	return nil
}

// Check checks that a period has a length.
func (p Period) Check() error {
	if p.From.IsZero() || p.Until != nil && !p.Until.After(p.From) {
		return violation("valid_until", "out_of_range", "valid_until is later than valid_from.")
	}
	return nil
}

func (r *Rule) ofOrder() bool { return r.Kind == OrderPercentage || r.Kind == OrderAmount }

// rule is a rule with the name of what it takes off.
type rule struct {
	name string
	*Rule
}

// sortedRules returns the rules that may apply to a basket at a time, in their order.
func (b *Book) sortedRules(basket Basket, at time.Time) ([]rule, error) {
	var rules []rule
	for i := range b.Promotions {
		p := &b.Promotions[i]
		if p.Has(at) && p.isFor(basket) {
			rules = append(rules, rule{p.Name, &p.Rule})
		}
	}
	if basket.Voucher != "" {
		v := b.Voucher
		switch {
		case v == nil || v.Code != basket.Voucher:
			return nil, refuse(VoucherUnknown, "There is no voucher %s.", basket.Voucher)
		case !v.Has(at):
			return nil, refuse(VoucherNotNow, "Voucher %s is not valid now.", v.Code)
		case !v.isFor(basket):
			return nil, notApplicable(v.Code)
		}
		rules = append(rules, rule{VoucherPrefix + v.Code, &v.Rule})
	}
	slices.SortFunc(rules, func(a, b rule) int {
		return cmp.Or(stage(a)-stage(b), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.name, b.name))
	})
	return rules, nil
}

func stage(r rule) int {
	if r.ofOrder() {
		return 1
	}
	return 0
}

func notApplicable(code string) *Refusal {
	return refuse(VoucherNotApplicable, "Voucher %s takes nothing off this order.", code)
}

func (r *Rule) isFor(b Basket) bool {
	inGroup := len(r.Groups) == 0 || slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(b.Groups, g) })
	return inGroup && (r.Currency == "" || r.Currency == b.Currency)
}

// errOpen is a mistake in the program.
var errOpen = errors.New("a rule took more than was left")
