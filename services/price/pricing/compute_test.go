package pricing_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"quadrille.internal/events/price"
	"quadrille.internal/services/price/pricing"
)

var (
	at     = time.Date(2026, 6, 15, 9, 30, 0, 0, time.UTC)
	always = pricing.Period{From: at.AddDate(-1, 0, 0)}
	never  = pricing.Period{From: at.Add(time.Minute)}
)

// list returns the price of a SKU in a list.
func listed(list, group, currency, sku string, from, amount int64) pricing.Price {
	return pricing.Price{SKU: sku, MinQuantity: from, Amount: amount, ListName: list, List: pricing.List{Group: group, Currency: currency, Period: always}}
}

func base(sku string, amount int64) pricing.Price { return listed("base", "", "GBP", sku, 1, amount) }

func promotion(name string, r pricing.Rule) pricing.Promotion {
	if r.From.IsZero() {
		r.Period = always
	}
	return pricing.Promotion{Name: name, Rule: r}
}

func voucher(code string, r pricing.Rule) *pricing.Voucher {
	if r.From.IsZero() {
		r.Period = always
	}
	return &pricing.Voucher{Code: code, Rule: r}
}

func basket(items ...pricing.Item) pricing.Basket {
	return pricing.Basket{Currency: "GBP", Items: items}
}

func of(sku string, n int64) pricing.Item { return pricing.Item{SKU: sku, Quantity: n} }

func compute(t *testing.T, b pricing.Basket, book pricing.Book) *price.Quote {
	t.Helper()
	q, err := withTaxes(b, book)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func withTaxes(b pricing.Basket, book pricing.Book) (*price.Quote, error) {
	if book.Taxes == nil {
		book.Taxes = pricing.TaxTable{}
	}
	return pricing.Compute(b, &book, at)
}

func totals(q *price.Quote) (list []int64) {
	for _, l := range q.Lines {
		list = append(list, l.Total)
	}
	return list
}

func TestRules(t *testing.T) {
	a, b, c := base("a", 100), base("b", 100), base("c", 100)
	third := pricing.Rule{Kind: pricing.Percentage, Rate: 333_333}
	for name, x := range map[string]struct {
		basket pricing.Basket
		prices []pricing.Price
		rules  []pricing.Rule
		want   []int64 // of the lines
	}{
		"nothing off":                {basket(of("a", 3)), []pricing.Price{a}, nil, []int64{300}},
		"3 items at a third off":     {basket(of("a", 3)), []pricing.Price{a}, []pricing.Rule{third}, []int64{200}},
		"a third off 3 lines":        {basket(of("a", 1), of("b", 1), of("c", 1)), []pricing.Price{a, b, c}, []pricing.Rule{{Kind: pricing.OrderPercentage, Rate: 333_333}}, []int64{66, 67, 67}},
		"a discount above the line":  {basket(of("a", 3)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.Amount, Amount: 250, Currency: "GBP"}, {Kind: pricing.OrderAmount, Amount: 1000, Currency: "GBP", Groups: []string{"none"}}}, nil},
		"one piece in three is free": {basket(of("a", 7)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.BuyXGetY, Buy: 2, Get: 1, Rate: pricing.Whole}}, []int64{500}},
		"the rest of a set":          {basket(of("a", 5)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.BuyXGetY, Buy: 1, Get: 3, Rate: pricing.Whole}}, []int64{200}},
		"the second at half price":   {basket(of("a", 2)), []pricing.Price{base("a", 99)}, []pricing.Rule{{Kind: pricing.BuyXGetY, Buy: 1, Get: 1, Rate: 500_000, Rounding: pricing.HalfUp}}, []int64{148}},
		"one after the other":        {basket(of("a", 10)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.Percentage, Rate: 100_000, Priority: 1}, {Kind: pricing.Amount, Amount: 10, Currency: "GBP", Priority: 2}}, []int64{810}},
		"exclusive":                  {basket(of("a", 10), of("b", 1)), []pricing.Price{a, b}, []pricing.Rule{{Kind: pricing.Percentage, Rate: 100_000, Priority: 1, Exclusive: true, SKUs: []string{"a"}}, {Kind: pricing.OrderPercentage, Rate: 500_000}}, []int64{900, 50}},
		"too few pieces":             {basket(of("a", 2)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.Percentage, Rate: 100_000, MinQuantity: 3}}, []int64{200}},
		"too small an order":         {basket(of("a", 2)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.OrderAmount, Amount: 100, Currency: "GBP", MinSubtotal: 201}}, []int64{200}},
		"just large enough":          {basket(of("a", 2)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.OrderAmount, Amount: 50, Currency: "GBP", MinSubtotal: 200}}, []int64{150}},
		"another currency's":         {basket(of("a", 2)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.OrderAmount, Amount: 50, Currency: "EUR"}}, []int64{200}},
		"not yet":                    {basket(of("a", 2)), []pricing.Price{a}, []pricing.Rule{{Kind: pricing.Percentage, Rate: 100_000, Period: never}}, []int64{200}},
		"a SKU on two lines":         {basket(of("a", 2), of("b", 1), of("a", 1)), []pricing.Price{a, b}, []pricing.Rule{{Kind: pricing.BuyXGetY, Buy: 2, Get: 1, Rate: pricing.Whole}}, []int64{200, 100}},
		"by weight":                  {basket(of("a", 1), of("b", 1)), []pricing.Price{base("a", 1), base("b", 2)}, []pricing.Rule{{Kind: pricing.OrderAmount, Amount: 2, Currency: "GBP"}}, []int64{0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			book := pricing.Book{Prices: x.prices}
			for i, r := range x.rules {
				if r.From.IsZero() {
					r.Period = always
				}
				if err := r.Check(); err != nil {
					t.Fatal(err)
				}
				book.Promotions = append(book.Promotions, promotion(string(rune('p'+i)), r))
			}
			q, err := withTaxes(x.basket, book)
			var refused *pricing.Refusal
			if x.want == nil && errors.As(err, &refused) && refused.Code == pricing.NothingToPay {
				return
			}
			if err != nil || !slices.Equal(totals(q), x.want) {
				t.Errorf("lines come to %v, %v, want %v", q, err, x.want)
			}
		})
	}
}

// Who is in two groups has the better price of both, and one in a group that has no price
// has everybody's.
func TestGroupsAndTiers(t *testing.T) {
	book := pricing.Book{Prices: []pricing.Price{
		listed("base", "", "GBP", "a", 1, 1000), listed("base", "", "GBP", "a", 10, 900),
		listed("trade", "trade", "GBP", "a", 1, 950), listed("trade", "trade", "GBP", "a", 20, 700),
		listed("staff", "staff", "GBP", "a", 1, 800), listed("dear", "dear", "GBP", "a", 1, 1200),
		listed("sale", "", "GBP", "b", 1, 400), listed("base", "", "GBP", "b", 1, 500),
	}}
	for _, c := range []struct {
		groups   []string
		quantity int64
		want     int64
	}{
		{nil, 1, 1000},
		{nil, 10, 900},
		{[]string{"trade"}, 1, 950},
		{[]string{"trade"}, 10, 900},
		{[]string{"trade", "staff"}, 1, 800},
		{[]string{"staff", "trade"}, 19, 800},
		{[]string{"staff", "trade"}, 20, 700},
		{[]string{"nothing", "trade"}, 1, 950},
		{[]string{"dear"}, 1, 1000},
		{[]string{"nothing", "none"}, 1, 1000},
	} {
		b := basket(of("a", c.quantity))
		b.Groups = c.groups
		if l := compute(t, b, book).Lines[0]; l.UnitPrice != c.want || l.ListPrice != 1000 {
			t.Errorf("%d for %v: %d each, list price %d, want %d of 1000", c.quantity, c.groups, l.UnitPrice, l.ListPrice, c.want)
		}
	}
	if l := compute(t, basket(of("b", 1)), book).Lines[0]; l.UnitPrice != 400 || l.ListPrice != 500 {
		t.Errorf("on sale: %+v", l)
	}
}

func TestVoucherAndGroupAndTier(t *testing.T) {
	book := pricing.Book{
		Prices:     []pricing.Price{base("a", 1000), listed("trade", "trade", "GBP", "a", 5, 801)},
		Promotions: []pricing.Promotion{promotion("summer", pricing.Rule{Kind: pricing.Percentage, Rate: 100_000, Priority: 5})},
		Voucher:    voucher("TEN", pricing.Rule{Kind: pricing.OrderAmount, Amount: 1000, Currency: "GBP"}),
		Shipping:   []pricing.Shipping{{Currency: "GBP", Amount: 300}},
		Taxes:      pricing.TaxTable{{Rate: 200_000, Period: always}},
	}
	b := basket(of("a", 5))
	b.Groups, b.Voucher = []string{"trade"}, "TEN"
	q := compute(t, b, book)
	// 5 * 801 = 4005, a tenth off is 400.5, which half to even makes 400: 3605; 1000 off: 2605.
	want := []price.Adjustment{{Name: "summer", Amount: -400}, {Name: "voucher:TEN", Amount: -1000}}
	if !slices.Equal(q.Adjustments, want) || q.Lines[0].Total != 2605 || q.Shipping != 300 || q.Tax != 581 || q.Total != 3486 {
		t.Errorf("it costs %+v", q)
	}
	if q.Lines[0].Tax != 521 {
		t.Errorf("the tax of the line is %d, and that of shipping %d", q.Lines[0].Tax, q.Tax-q.Lines[0].Tax)
	}
}

// A voucher that gives nothing is refused, not skipped.
func TestVouchersAreRefusedAloud(t *testing.T) {
	ten := pricing.Rule{Kind: pricing.OrderPercentage, Rate: 100_000}
	late, trade, other, small := ten, ten, ten, ten
	late.Period, trade.Groups, other.SKUs, small.MinSubtotal, small.Currency = never, []string{"trade"}, []string{"b"}, 101, "GBP"
	for name, c := range map[string]struct {
		voucher *pricing.Voucher
		want    string
	}{
		"unknown":         {nil, pricing.VoucherUnknown},
		"another":         {voucher("OTHER", ten), pricing.VoucherUnknown},
		"not yet":         {voucher("TEN", late), pricing.VoucherNotNow},
		"another's":       {voucher("TEN", trade), pricing.VoucherNotApplicable},
		"other goods":     {voucher("TEN", other), pricing.VoucherNotApplicable},
		"too small":       {voucher("TEN", small), pricing.VoucherNotApplicable},
		"nothing is left": {voucher("TEN", pricing.Rule{Kind: pricing.Percentage, Rate: 1}), pricing.VoucherNotApplicable},
	} {
		b := basket(of("a", 1))
		b.Voucher = "TEN"
		q, err := withTaxes(b, pricing.Book{Prices: []pricing.Price{base("a", 100)}, Voucher: c.voucher})
		var refused *pricing.Refusal
		if !errors.As(err, &refused) || refused.Code != c.want {
			t.Errorf("%s: %+v, %v, want %s", name, q, err, c.want)
		}
	}
}

func TestCurrenciesWithAndWithoutDecimals(t *testing.T) {
	for currency, want := range map[string][2]int64{"JPY": {667, 67}, "KWD": {667, 67}, "GBP": {667, 67}} {
		b := pricing.Basket{Currency: currency, Items: []pricing.Item{of("a", 1)}}
		q := compute(t, b, pricing.Book{
			Prices:     []pricing.Price{listed("base", "", currency, "a", 1, 1000), listed("other", "", "EUR", "a", 1, 1)},
			Promotions: []pricing.Promotion{promotion("third", pricing.Rule{Kind: pricing.Percentage, Rate: 333_333})},
			Taxes:      pricing.TaxTable{{Rate: 100_000, Period: always}},
		})
		if q.Lines[0].Total != want[0] || q.Tax != want[1] {
			t.Errorf("%s: %+v", currency, q)
		}
	}
}

func TestTaxesOfRegions(t *testing.T) {
	book := pricing.Book{
		Prices: []pricing.Price{base("a", 1000), base("book", 1000)},
		Taxes: pricing.TaxTable{
			{Rate: 200_000, Period: always, Exceptions: []pricing.TaxException{{Rate: 0, SKUs: []string{"book"}}}},
			{Region: "DE", Rate: 190_000, Period: always},
			{Region: "DE", Rate: 160_000, Period: pricing.Period{From: at}},
			{Region: "ES", Rate: 210_000, Period: always}, {Region: "ES-CN", Rate: 70_000, Period: always},
		},
	}
	for region, want := range map[string]int64{"": 200, "FR": 200, "DE": 320, "ES": 420, "ES-CN": 140, "ES-M": 420} {
		b := basket(of("a", 1), of("book", 1))
		b.Region = region
		if q := compute(t, b, book); q.Tax != want {
			t.Errorf("%q: tax is %d, want %d", region, q.Tax, want)
		}
	}
}

func TestShipping(t *testing.T) {
	free := int64(2000)
	book := pricing.Book{Prices: []pricing.Price{base("a", 1000)}, Shipping: []pricing.Shipping{
		{Currency: "GBP", Amount: 395, FreeFrom: &free}, {Currency: "EUR", Amount: 1}, {Region: "DE", Currency: "GBP", Amount: 900},
	}}
	for _, c := range []struct {
		region         string
		quantity, want int64
	}{{"", 1, 395}, {"", 2, 0}, {"DE", 2, 900}, {"FR", 1, 395}} {
		b := basket(of("a", c.quantity))
		b.Region = c.region
		if q := compute(t, b, book); q.Shipping != c.want || q.Total != c.quantity*1000+c.want {
			t.Errorf("%d to %q: %+v", c.quantity, c.region, q)
		}
	}
}

func TestWhatIsNotSold(t *testing.T) {
	future := base("c", 100)
	future.Period = never
	_, err := withTaxes(basket(of("a", 1), of("b", 1), of("c", 1)), pricing.Book{Prices: []pricing.Price{base("a", 100), listed("base", "", "EUR", "b", 1, 9), future}})
	var refused *pricing.Refusal
	if !errors.As(err, &refused) || refused.Code != pricing.NoPrice || !slices.Equal(refused.SKUs, []string{"b", "c"}) {
		t.Errorf("refused with %v", err)
	}
}

func TestExplain(t *testing.T) {
	book := pricing.Book{
		Revision: 3, Prices: []pricing.Price{base("a", 1000)}, Taxes: pricing.TaxTable{{Rate: 200_000, Period: always}},
		Promotions: []pricing.Promotion{
			promotion("large", pricing.Rule{Kind: pricing.OrderAmount, Amount: 1, Currency: "GBP", MinSubtotal: 9999}),
			promotion("summer", pricing.Rule{Kind: pricing.Percentage, Rate: 100_000}),
		},
		Shipping: []pricing.Shipping{{Currency: "GBP", Amount: 100}},
	}
	q := compute(t, basket(of("a", 2)), book)
	q.IssuedAt = at
	steps, again, err := pricing.Explain(q, &book)
	want := []pricing.Step{
		{What: "price", Rule: "base", SKU: "a", Amount: 1000},
		{What: "promotion", Rule: "summer", SKU: "a", Amount: -200},
		{What: "skipped", Rule: "large", Why: "its lines come to 1800, and it wants 9999"},
		{What: "shipping", Amount: 100},
		{What: "tax", Rule: "200000 of a million", Amount: 380},
	}
	if err != nil || !pricing.Same(q, again) || !slices.Equal(steps, want) {
		t.Errorf("%v, explained as %+v", err, steps)
	}
}

func TestPublicPrices(t *testing.T) {
	noon, night := at.Add(time.Hour), at.Add(10*time.Hour)
	sale := listed("sale", "", "GBP", "a", 1, 80)
	sale.Period = pricing.Period{From: noon, Until: &night}
	prices := []pricing.Price{base("a", 100), sale, listed("trade", "trade", "GBP", "a", 1, 10), listed("tier", "", "GBP", "a", 2, 50), listed("yen", "", "JPY", "a", 1, 15000)}
	for name, c := range map[string]struct {
		at   time.Time
		want price.Price
	}{
		"before": {at, price.Price{Currency: "GBP", Amount: 100, ListPrice: 100, ValidFrom: always.From, ValidUntil: &noon}},
		"during": {noon, price.Price{Currency: "GBP", Amount: 80, ListPrice: 100, ValidFrom: noon, ValidUntil: &night}},
		"after":  {night, price.Price{Currency: "GBP", Amount: 100, ListPrice: 100, ValidFrom: always.From}},
	} {
		got := pricing.Public(prices, c.at)
		if len(got) != 2 || got[1].Currency != "JPY" {
			t.Fatalf("%s: %+v", name, got)
		}
		g, w := got[0], c.want
		same := g.ValidUntil == nil && w.ValidUntil == nil || g.ValidUntil != nil && w.ValidUntil != nil && g.ValidUntil.Equal(*w.ValidUntil)
		if g.Amount != w.Amount || g.ListPrice != w.ListPrice || !g.ValidFrom.Equal(w.ValidFrom) || !same {
			t.Errorf("%s: %+v until %v, want %+v", name, g, g.ValidUntil, w)
		}
	}
}
