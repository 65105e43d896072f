package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/quad/provider"
	checkout "quadrille.internal/services/checkout/audit"
	inventory "quadrille.internal/services/inventory/audit"
	order "quadrille.internal/services/order/audit"
	payment "quadrille.internal/services/payment/audit"
	price "quadrille.internal/services/price/audit"
	b2b "quadrille.internal/workflows/b2b/audit"
)

// file is all that the books say of one order; nil where a book knows nothing.
type file struct {
	id          uuid.UUID
	checkout    *checkout.Checkout
	order       *order.Order
	reservation *inventory.Reservation
	payment     *payment.Payment
	charges     []charge
	voucher     *price.Use
	company     *b2b.Order // of a company's order, of which the books above know little
	erp         []provider.ERPOrder
}

// charge is one in the provider's ledger, with what of it went back.
type charge struct {
	provider.Charge
	refunded int64
}

// rule is one of those an order's books must keep. It returns what is wrong, or "".
type rule struct {
	name    string
	applies func(*file) bool
	unit    string
	broken  func(f *file, now time.Time) string
}

func has[T any](field func(*file) *T) func(*file) bool {
	return func(f *file) bool { return f.company == nil && field(f) != nil }
}

var (
	hasCheckout    = has(func(f *file) *checkout.Checkout { return f.checkout })
	hasOrder       = has(func(f *file) *order.Order { return f.order })
	hasReservation = has(func(f *file) *inventory.Reservation { return f.reservation })
	hasPayment     = has(func(f *file) *payment.Payment { return f.payment })
	hasCharge      = func(f *file) bool { return len(f.charges) > 0 }
)

// rules in the order of the report: those of customers' orders, then of companies'.
var rules = slices.Concat(customerRules, companyRules)

var customerRules = []rule{
	{"every checkout has its order", hasCheckout, "checkouts", orderMissing},
	{"checkout and order agree", func(f *file) bool { return hasCheckout(f) && hasOrder(f) }, "orders", checkoutDiffers},
	{"every reservation has its order", hasReservation, "reservations", reservationAstray},
	{"stock follows the order", hasOrder, "orders", stockDiffers},
	{"one charge if confirmed, none kept if not", hasOrder, "orders", chargeDiffers},
	{"no charge without an order", hasCharge, "charged orders", chargeAstray},
	{"payment and provider agree", hasPayment, "payments", paymentDiffers},
	{voucherRule, hasVoucher, "orders with a voucher", voucherDiffers},
	{"no order is forgotten", hasOrder, "orders", forgotten},
}

func orderMissing(f *file, _ time.Time) string {
	if f.order == nil || f.order.PlacedAt == nil {
		return "the order service has not heard of it"
	}
	return ""
}

func checkoutDiffers(f *file, _ time.Time) string {
	c, o := f.checkout, f.order
	status := c.Status
	if status == "placed" {
		status = "pending"
	}
	switch {
	case o.PlacedAt == nil:
		return "" // another rule's
	case c.Amount != o.Amount || c.Currency != o.Currency:
		return fmt.Sprintf("the checkout is over %d %s, the order over %d %s", c.Amount, c.Currency, o.Amount, o.Currency)
	case status != o.Status:
		return fmt.Sprintf("the checkout is %s, the order %s", c.Status, o.Status)
	default:
		return ""
	}
}

func reservationAstray(f *file, _ time.Time) string {
	if f.order == nil {
		return fmt.Sprintf("stock is %s for an order that does not exist", f.reservation.Status)
	}
	return ""
}

// fits lists the states of stock that go with an order's.
var fits = map[string][]string{
	"pending":   {"none", "unknown", "held"},
	"confirmed": {"shipped"},
	"cancelled": {"released", "refused"},
}

func stockDiffers(f *file, _ time.Time) string {
	status := "none"
	if f.reservation != nil {
		status = f.reservation.Status
	}
	for _, fit := range fits[f.order.Status] {
		if status != fit {
			continue
		}
		if r := f.reservation; status == "shipped" && r.Units != f.order.Units {
			return fmt.Sprintf("%d units were ordered, %d shipped", f.order.Units, r.Units)
		}
		return ""
	}
	return fmt.Sprintf("the order is %s, its stock %s", f.order.Status, status)
}

func chargeDiffers(f *file, _ time.Time) string {
	var kept int
	for _, c := range f.charges {
		switch {
		case c.refunded == c.Amount:
			continue
		case f.order.Status == "cancelled":
			return fmt.Sprintf("cancelled, but charge %s of %d %s was kept%s", c.ID, c.Amount-c.refunded, c.Currency, f.whyKept())
		case c.refunded != 0:
			return fmt.Sprintf("%d of charge %s over %d went back", c.refunded, c.ID, c.Amount)
		case f.order.PlacedAt != nil && (c.Amount != f.order.Amount || c.Currency != f.order.Currency):
			return fmt.Sprintf("charge %s is over %d %s, the order over %d %s", c.ID, c.Amount, c.Currency, f.order.Amount, f.order.Currency)
		}
		kept++
	}
	switch {
	case kept > 1:
		return fmt.Sprintf("charged %d times", kept)
	case f.order.Status == "confirmed" && kept == 0:
		return "confirmed without a charge"
	default:
		return ""
	}
}

func (f *file) whyKept() string {
	if p := f.payment; p != nil && p.Status == "refunding" {
		return fmt.Sprintf(" (its refund was tried %d times: %s)", p.Attempts, p.LastError)
	}
	if p := f.payment; p != nil && p.Status == "refused" {
		return fmt.Sprintf(" (the provider refuses the refund: %s)", p.LastError)
	}
	return ""
}

func chargeAstray(f *file, _ time.Time) string {
	if f.order == nil {
		return fmt.Sprintf("charge %s is for an order that does not exist", f.charges[0].ID)
	}
	return ""
}

func paymentDiffers(f *file, _ time.Time) string {
	p := f.payment
	var at charge
	for _, c := range f.charges {
		if c.ID == p.ChargeID {
			at = c
		}
	}
	switch p.Status {
	case "completed", "refunding", "refunded":
		if at.ID == "" {
			return fmt.Sprintf("charge %s is not in the provider's ledger", p.ChargeID)
		}
		if p.Status == "refunded" && at.refunded != at.Amount {
			return fmt.Sprintf("refund %s is not in the provider's ledger", p.RefundID)
		}
	case "failed", "void", "unknown", "refused":
		if p.ChargeID == "" && len(f.charges) > 0 {
			return fmt.Sprintf("the payment is %s, but the provider has charge %s", p.Status, f.charges[0].ID)
		}
	}
	return ""
}

const (
	// An order may be unsettled for this long without a word.
	settleTime = time.Minute
	// An attempt at the provider that is overdue for this long will not be made.
	overdue = time.Minute
)

func forgotten(f *file, now time.Time) string {
	if !f.lingers(now) || f.excuse(now) != "" {
		return ""
	}
	r := f.reservation
	switch {
	case r == nil:
		return "waits for stock, and inventory has not heard of it"
	case r.Status != "held":
		return "waits, though its stock is " + r.Status
	case r.ExpiredAt != nil:
		return "its reservation expired, and the order service has not acted on it"
	case f.payment == nil:
		return "waits for its payment, and the payment service has not heard of it"
	default:
		return "waits, though its payment is " + f.payment.Status
	}
}

// lingers reports whether the order is unsettled for longer than is usual.
func (f *file) lingers(now time.Time) bool {
	if f.company != nil {
		return companyLingers(f.company, now)
	}
	o := f.order
	return o != nil && o.Status == "pending" && o.PlacedAt != nil && now.Sub(*o.PlacedAt) > settleTime
}

// excuse says what an unsettled order waits for, if something is being done.
func (f *file) excuse(now time.Time) string {
	if f.company != nil {
		return companyExcuse(f.company, now)
	}
	p := f.payment
	if p != nil && p.Status == "refused" && (f.reservation == nil || f.reservation.ExpiredAt == nil) {
		return "an operator or its expiry: the payment provider refuses it: " + p.LastError
	}
	if p == nil || p.DueAt == nil || now.Sub(*p.DueAt) > overdue {
		return ""
	}
	if p.LastError == "" {
		return "the payment provider is being asked"
	}
	return fmt.Sprintf("the payment provider, asked %d times: %s", p.Attempts, p.LastError)
}
