package pricing

import (
	"fmt"

	"quadrille.internal/events/price"
)

// Codes of refusals.
const (
	NoPrice              = "price_not_found"
	TooLarge             = "total_too_large"
	NothingToPay         = "nothing_to_pay"
	VoucherUnknown       = "voucher_not_found"
	VoucherNotNow        = "voucher_not_valid_now"
	VoucherUsedUp        = "voucher_used_up"
	VoucherNotApplicable = "voucher_not_applicable"
)

// Refusal says why a basket has no price. It is an answer, not a failure.
type Refusal struct {
	Code, Message string
	// SKUs are those at fault.
	SKUs []string
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

// checked are sums of which one that did not fit is remembered.
type checked struct{ tooLarge bool }

func (c *checked) add(a, b int64) int64 {
	sum := price.Sum(a, b)
	if sum != a+b {
		c.tooLarge = true
	}
	return sum
}

// times multiplies numbers that are not negative.
func (c *checked) times(a, b int64) int64 {
	product := a * b
	if a != 0 && (product/a != b || product < 0) {
		c.tooLarge = true
		return 0
	}
	return product
}

func (c *checked) err() error {
	if c.tooLarge {
		return refuse(TooLarge, "The total is too large.")
	}
	return nil
}
