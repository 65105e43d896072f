package verify

import (
	"fmt"
	"time"
)

const voucherRule = "vouchers follow the order"

func hasVoucher(f *file) bool { return f.voucher != nil || hasCheckout(f) && f.checkout.Voucher != "" }

// voucherDiffers holds an order against the books of price: a voucher that was taken off is
// used up by the order once that is confirmed, and not one moment longer if it is cancelled.
func voucherDiffers(f *file, _ time.Time) string {
	status := "unknown to price"
	if f.voucher != nil {
		status = f.voucher.Status
	}
	counted := status == "held" || status == "redeemed"
	switch {
	case f.checkout == nil && status == "redeemed":
		return fmt.Sprintf("voucher %s is redeemed for an order that does not exist", f.voucher.Code)
	case f.checkout == nil:
		return "" // a hold whose order did not come, which price gives up
	case f.checkout.Voucher == "" && counted:
		return fmt.Sprintf("voucher %s is %s for an order without a voucher", f.voucher.Code, status)
	case f.checkout.Voucher == "":
		return ""
	}
	fit := map[string]bool{"placed": counted, "confirmed": status == "redeemed", "cancelled": !counted}[f.checkout.Status]
	switch {
	case !fit:
		return fmt.Sprintf("the checkout is %s, its voucher %s is %s", f.checkout.Status, f.checkout.Voucher, status)
	case f.voucher != nil && f.voucher.Code != f.checkout.Voucher:
		return fmt.Sprintf("the checkout has voucher %s, price has %s for it", f.checkout.Voucher, f.voucher.Code)
	default:
		return ""
	}
}
