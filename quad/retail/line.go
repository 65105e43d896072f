package retail

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"quadrille.internal/events"
)

// Reason says why a line cannot be ordered.
type Reason string

// The reasons. The first that fits is given.
const (
	Unreadable    Reason = "unreadable"             // not the format: fields, numbers
	Cancellation  Reason = "cancellation"           // invoice C...: goods that came back
	Adjustment    Reason = "adjustment"             // another letter: the book-keeper's
	Charge        Reason = "charge"                 // postage, discount, bank charges, ...
	NoQuantity    Reason = "quantity not positive"  // stock written off
	NoPrice       Reason = "price not positive"     // given away, or found
	FinePrice     Reason = "price finer than penny" // no such amount can be charged
	OutOfRange    Reason = "out of range"           // more than an order line may hold
	BadCode       Reason = "code not accepted"      // not a SKU that the API takes
	OtherCustomer Reason = "customer differs"       // an order has one customer
)

// charges are the stock codes that are not products. Codes without a digit may be
// products (DCGSSBOY is a party bag), so that there is no rule but the list.
var charges = map[string]bool{
	"POST": true, "DOT": true, "C2": true, "C3": true, // postage and carriage
	"D": true, "M": true, "S": true, "B": true, // discount, manual, samples, bad debt
	"BANK CHARGES": true, "AMAZONFEE": true, "CRUK": true,
	"ADJUST": true, "ADJUST2": true, "TEST001": true, "TEST002": true,
}

// vouchers are gift vouchers: a means of payment, no goods.
const vouchers = "GIFT_"

var (
	saleNumber   = regexp.MustCompile(`^[0-9]+$`)
	letterNumber = regexp.MustCompile(`^[A-Za-z][0-9]+$`)
	decimal      = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,15})?$`)
	apiName      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// line is one line of a file as far as it could be read.
type line struct {
	invoice  string
	sku      string
	customer string
	quantity int64
	price    *big.Rat // pounds
	pence    int64    // price, once fault has found nothing
	value    *big.Rat // quantity times price, nil when either cannot be read
	unread   string   // what could not be read
}

// newLine reads the fields that matter. Codes are put in capitals: the same
// product is written 85123A and 85123a.
func newLine(invoice, code, quantity, price, customer string) *line {
	l := &line{invoice: strings.ToUpper(invoice), sku: strings.ToUpper(code), customer: Guest}
	q, quantityRead := number(quantity)
	p, priceRead := number(price)
	switch {
	case !saleNumber.MatchString(l.invoice) && !letterNumber.MatchString(l.invoice):
		l.unread = fmt.Sprintf("%q is no invoice number", invoice)
	case !quantityRead || !q.IsInt() || !q.Num().IsInt64():
		l.unread = fmt.Sprintf("%q is no quantity", quantity)
	case !priceRead:
		l.unread = fmt.Sprintf("%q is no price", price)
	case customer != "" && !apiName.MatchString(customer):
		l.unread = fmt.Sprintf("%q is no customer id", customer)
	}
	if customer != "" {
		l.customer = strings.TrimSuffix(customer, ".0") // the source writes it as a float
	}
	if l.unread == "" {
		l.quantity, l.price = q.Num().Int64(), p
		l.value = new(big.Rat).Mul(q, p)
	}
	return l
}

// number reads a decimal exactly.
func number(s string) (*big.Rat, bool) {
	if !decimal.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// fault returns the first reason against ordering the line, or "". It leaves the
// price in pence behind.
func (l *line) fault() (Reason, string) {
	switch {
	case l.unread != "":
		return Unreadable, l.unread
	case l.invoice[0] == 'C':
		return Cancellation, ""
	case !saleNumber.MatchString(l.invoice):
		return Adjustment, ""
	case charges[l.sku] || strings.HasPrefix(l.sku, vouchers):
		return Charge, ""
	case l.quantity <= 0:
		return NoQuantity, strconv.FormatInt(l.quantity, 10)
	case l.price.Sign() <= 0:
		return NoPrice, pounds(l.price)
	case !apiName.MatchString(l.sku):
		return BadCode, fmt.Sprintf("%q is not 1 to 64 of A-Z 0-9 . _ -", l.sku)
	case l.quantity > events.MaxQuantity:
		return OutOfRange, fmt.Sprintf("quantity over %d", events.MaxQuantity)
	}
	pence := new(big.Rat).Mul(l.price, big.NewRat(100, 1))
	if !pence.IsInt() {
		return FinePrice, pounds(l.price)
	}
	if l.pence = pence.Num().Int64(); l.pence > events.MaxUnitPrice {
		return OutOfRange, fmt.Sprintf("price over %d pence", events.MaxUnitPrice)
	}
	return "", ""
}

// pounds writes an amount with as many decimals as it has, at least two.
func pounds(v *big.Rat) string {
	n, _ := v.FloatPrec()
	return v.FloatString(max(n, 2))
}
