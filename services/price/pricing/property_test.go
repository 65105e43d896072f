package pricing_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	"quadrille.internal/services/price/pricing"
)

var (
	skus   = []string{"a", "b", "c", "d"}
	groups = []string{"trade", "staff", "club"}
)

// drawRule draws a rule that operators could make.
func drawRule(t *rapid.T) pricing.Rule {
	r := pricing.Rule{
		Kind:      rapid.SampledFrom([]pricing.Kind{pricing.Percentage, pricing.Amount, pricing.BuyXGetY, pricing.OrderPercentage, pricing.OrderAmount}).Draw(t, "kind"),
		Priority:  rapid.Int64Range(-2, 2).Draw(t, "priority"),
		Exclusive: rapid.Bool().Draw(t, "exclusive"),
		SKUs:      rapid.SliceOfNDistinct(rapid.SampledFrom(skus), 0, 2, rapid.ID).Draw(t, "skus"),
		Groups:    rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 2, rapid.ID).Draw(t, "groups"),
		Rounding:  rapid.SampledFrom([]pricing.Rounding{"", pricing.HalfUp, pricing.Down, pricing.Up}).Draw(t, "rounding"),
		Period:    always,
	}
	switch r.Kind {
	case pricing.BuyXGetY:
		r.Buy, r.Get = rapid.Int64Range(1, 4).Draw(t, "buy"), rapid.Int64Range(1, 4).Draw(t, "get")
		fallthrough
	case pricing.Percentage, pricing.OrderPercentage:
		r.Rate = rapid.Int64Range(1, pricing.Whole).Draw(t, "rate")
	default:
		r.Amount, r.Currency = rapid.Int64Range(1, 3000).Draw(t, "amount"), "GBP"
	}
	if r.Kind == pricing.OrderAmount && rapid.Bool().Draw(t, "has a minimum") {
		r.MinSubtotal = rapid.Int64Range(1, 5000).Draw(t, "min subtotal")
	}
	if err := r.Check(); err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return r
}

func drawBook(t *rapid.T) pricing.Book {
	book := pricing.Book{Revision: 1}
	for _, sku := range skus {
		book.Prices = append(book.Prices, base(sku, rapid.Int64Range(0, 2000).Draw(t, "price")))
		for i := range rapid.IntRange(0, 4).Draw(t, "prices") {
			book.Prices = append(book.Prices, listed(fmt.Sprint("list", i), rapid.SampledFrom(append(groups, "")).Draw(t, "group"), "GBP", sku,
				rapid.Int64Range(1, 12).Draw(t, "min quantity"), rapid.Int64Range(0, 2500).Draw(t, "amount")))
		}
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "promotions") {
		book.Promotions = append(book.Promotions, promotion(fmt.Sprint("p", i), drawRule(t)))
	}
	book.Voucher = voucher("CODE", drawRule(t))
	book.Shipping = []pricing.Shipping{{Currency: "GBP", Amount: rapid.SampledFrom([]int64{0, 0, 99, 395}).Draw(t, "shipping")}}
	book.Taxes = pricing.TaxTable{{
		Rate: rapid.Int64Range(0, pricing.Whole).Draw(t, "tax"), Rounding: rapid.SampledFrom([]pricing.Rounding{"", pricing.HalfUp, pricing.Down, pricing.Up}).Draw(t, "tax rounding"),
		Period:     always,
		Exceptions: []pricing.TaxException{{Rate: rapid.Int64Range(0, pricing.Whole).Draw(t, "other tax"), SKUs: []string{"b", "d"}}},
	}}
	return book
}

func drawBasket(t *rapid.T) pricing.Basket {
	b := basket()
	for range rapid.IntRange(1, 6).Draw(t, "items") {
		b.Items = append(b.Items, of(rapid.SampledFrom(skus).Draw(t, "sku"), rapid.Int64Range(1, 30).Draw(t, "quantity")))
	}
	b.Groups = rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 3, rapid.ID).Draw(t, "groups")
	if rapid.Bool().Draw(t, "has a voucher") {
		b.Voucher = "CODE"
	}
	return b
}

// check checks what every quote holds: see Quote.Validate, which knows the sums, the signs
// and the list prices.
func check(t interface {
	Fatalf(string, ...any)
}, q *price.Quote,
) {
	whole := *q
	whole.ID, whole.IssuedAt, whole.ExpiresAt = uuid.Max, at, at.Add(time.Minute)
	if err := whole.Validate(); err != nil {
		t.Fatalf("%v: %+v", err, q)
	}
	taxes := int64(0)
	for _, l := range q.Lines {
		taxes += l.Tax
		if l.Total > l.Quantity*l.ListPrice {
			t.Fatalf("%s costs %d, above its list price", l.SKU, l.Total)
		}
	}
	if q.Shipping == 0 && taxes != q.Tax {
		t.Fatalf("the lines have a tax of %d, the quote one of %d", taxes, q.Tax)
	}
}

// The order of lines, prices, promotions and groups means nothing, nor whether a SKU is on
// one line or on two.
func TestTheOrderOfLinesMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book, b := drawBook(t), drawBasket(t)
		first, err := withTaxes(b, book)
		other, shuffled := b, book
		other.Items = rapid.Permutation(b.Items).Draw(t, "items")
		other.Groups = rapid.Permutation(b.Groups).Draw(t, "groups")
		shuffled.Prices = rapid.Permutation(book.Prices).Draw(t, "prices")
		shuffled.Promotions = rapid.Permutation(book.Promotions).Draw(t, "promotions")
		if n := other.Items[0].Quantity; n > 1 {
			other.Items = append(slices.Clone(other.Items[1:]), of(other.Items[0].SKU, 1), of(other.Items[0].SKU, n-1))
		}
		second, err2 := withTaxes(other, shuffled)
		if err != nil || err2 != nil {
			if fmt.Sprint(err) != fmt.Sprint(err2) {
				t.Fatalf("%v, then %v", err, err2)
			}
			return
		}
		if !pricing.Same(first, second) {
			t.Fatalf("%+v\nthen %+v", first, second)
		}
	})
}

func TestSumsAreExactAndNothingIsNegativeOrAboveItsListPrice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, err := withTaxes(drawBasket(t), drawBook(t))
		var refused *pricing.Refusal
		switch {
		case err == nil:
			check(t, q)
		case !errors.As(err, &refused):
			t.Fatalf("%v", err)
		}
	})
}

// One more group, or one more piece, never makes a piece dearer.
func TestMoreGroupsAndMorePiecesAreNeverDearer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book, b := drawBook(t), drawBasket(t)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 2, rapid.ID).Draw(t, "some groups")
		for _, item := range b.Items {
			prices := slices.DeleteFunc(slices.Clone(book.Prices), func(p pricing.Price) bool { return p.SKU != item.SKU })
			few, sold := pricing.Best(prices, "GBP", some, item.Quantity, at)
			more, stillSold := pricing.Best(prices, "GBP", append(some, groups...), item.Quantity, at)
			large, _ := pricing.Best(prices, "GBP", some, item.Quantity+1, at)
			if !sold || !stillSold || more.Amount > few.Amount || large.Amount > few.Amount {
				t.Fatalf("%d with %v, %d with all groups, %d for one more", few.Amount, some, more.Amount, large.Amount)
			}
		}
	})
}

// What a rate is, is compared with exact fractions.
func TestRoundings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount, rate := rapid.Int64Range(0, 999_999_999).Draw(t, "amount"), rapid.Int64Range(1, pricing.Whole).Draw(t, "rate")
		exact := new(big.Rat).Mul(big.NewRat(amount, 1), big.NewRat(rate, pricing.Whole))
		for rounding, most := range map[pricing.Rounding]*big.Rat{
			"": big.NewRat(1, 2), pricing.HalfUp: big.NewRat(1, 2), pricing.Down: big.NewRat(999_999, pricing.Whole), pricing.Up: big.NewRat(999_999, pricing.Whole),
		} {
			q, err := withTaxes(basket(of("a", 1)), pricing.Book{
				Prices: []pricing.Price{base("a", amount+1)}, // which is not nothing
				Taxes:  pricing.TaxTable{{Rate: rate, Rounding: rounding, Period: always}},
			})
			if err != nil {
				t.Fatalf("%v", err)
			}
			tax := new(big.Rat).Add(exact, big.NewRat(rate, pricing.Whole))
			off := new(big.Rat).Sub(big.NewRat(q.Tax, 1), tax)
			up := off.Sign() >= 0
			if off.Abs(off).Cmp(most) > 0 || rounding == pricing.Down && up && off.Sign() != 0 || rounding == pricing.Up && !up {
				t.Fatalf("%q of %s is %d", rounding, tax.FloatString(7), q.Tax)
			}
		}
	})
}

func TestHalves(t *testing.T) {
	for rounding, want := range map[pricing.Rounding][2]int64{"": {2, 4}, pricing.HalfUp: {3, 4}, pricing.Down: {2, 3}, pricing.Up: {3, 4}} {
		for i, amount := range []int64{5, 7} { // of which a half is 2.5 and 3.5
			q := compute(t, basket(of("a", 1)), pricing.Book{
				Prices: []pricing.Price{base("a", amount)}, Taxes: pricing.TaxTable{{Rate: 500_000, Rounding: rounding, Period: always}},
			})
			if q.Tax != want[i] {
				t.Errorf("%q of a half of %d is %d, want %d", rounding, amount, q.Tax, want[i])
			}
		}
	}
}

// Whatever numbers a book and a basket have, the answer is a valid quote or a refusal.
func FuzzOverflow(f *testing.F) {
	f.Add(int64(1_000_000_000), int64(1_000_000), int64(1_000_000_000), int64(1_000_000), int64(500_000), int64(395))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(1), int64(1), int64(math.MaxInt64))
	f.Add(int64(-1), int64(1), int64(1), int64(1), int64(1), int64(1))
	f.Add(int64(100), int64(3), int64(math.MaxInt64), int64(1), int64(1), int64(1)) // 3 times as much off
	f.Add(int64(100), int64(3), int64(1), int64(1), int64(pricing.Whole), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, amount, quantity, off, rate, tax, shipping int64) {
		if off < 1 || rate < 1 || rate > pricing.Whole || tax < 0 || tax > pricing.Whole || shipping < 0 {
			return // the service lets no operator write these
		}
		book := pricing.Book{
			Revision: 1, Prices: []pricing.Price{base("a", amount), base("b", 1_000_000_000)},
			Promotions: []pricing.Promotion{
				promotion("amount", pricing.Rule{Kind: pricing.Amount, Amount: off, Currency: "GBP"}),
				promotion("order", pricing.Rule{Kind: pricing.OrderPercentage, Rate: rate}),
				promotion("sets", pricing.Rule{Kind: pricing.BuyXGetY, Buy: off, Get: off, Rate: rate}),
			},
			Shipping: []pricing.Shipping{{Currency: "GBP", Amount: shipping}},
			Taxes:    pricing.TaxTable{{Rate: tax, Period: always}},
		}
		q, err := withTaxes(basket(of("a", quantity), of("b", 1_000_000)), book)
		var refused *pricing.Refusal
		switch {
		case err == nil:
			check(t, q)
		case !errors.As(err, &refused):
			t.Fatal(err)
		}
	})
}

func TestSumsThatDoNotFitAreRefused(t *testing.T) {
	var items []pricing.Item
	book := pricing.Book{Shipping: []pricing.Shipping{{Currency: "GBP", Amount: math.MaxInt64}}}
	for i := range 1000 {
		sku := fmt.Sprint("s", i)
		items = append(items, of(sku, 1_000_000))
		book.Prices = append(book.Prices, base(sku, 1_000_000_000))
	}
	var refused *pricing.Refusal
	for name, b := range map[string]pricing.Basket{
		"with shipping":       basket(items...),
		"a SKU on many lines": basket(slices.Repeat(items[:1], 2)...),
		"too many lines":      basket(append(items, of("x", 1))...),
		"no lines":            basket(),
		"no pieces":           basket(of("s1", 0)),
		"less than none":      basket(of("s1", -1)),
	} {
		if q, err := withTaxes(b, book); !errors.As(err, &refused) || refused.Code != pricing.TooLarge {
			t.Errorf("%s: %v, %v", name, q, err)
		}
	}
	book.Shipping[0].Amount = 0
	if q := compute(t, basket(items...), book); q.Total != events.MaxAmount {
		t.Errorf("the most there can be costs %d", q.Total)
	}
	book.Taxes = pricing.TaxTable{{Rate: 1, Period: always}}
	if q, err := withTaxes(basket(items...), book); !errors.As(err, &refused) || refused.Code != pricing.TooLarge {
		t.Errorf("with tax on the most there can be: %v, %v", q, err)
	}
}
