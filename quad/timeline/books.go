package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

const (
	checkoutSQL = `select status, reason, customer_id, lines, amount, currency, traceparent, placed_at, settled_at
		from checkouts where id = $1`
	orderSQL = `select status, reason, traceparent, placed_at, reserved_at, paid_at, cancel_asked_at, settled_at
		from orders where id = $1`
	reservationSQL = `select status, allocations, reserved_at, expires_at, expired_at, ended_at
		from reservations where id = $1`
	paymentSQL = `select status, amount, currency, charge_id, refund_id, reason, attempts, last_error, due_at,
		requested_at, completed_at, refused_at, ended_at from payments where id = $1`
)

type (
	checkoutRow struct {
		Status      string
		Reason      *events.Reason
		CustomerID  string
		Lines       []events.Line
		Amount      int64
		Currency    string
		Traceparent string
		PlacedAt    time.Time
		SettledAt   *time.Time
	}
	orderRow struct {
		Status        string
		Reason        *events.Reason
		Traceparent   string
		PlacedAt      *time.Time
		ReservedAt    *time.Time
		PaidAt        *time.Time
		CancelAskedAt *time.Time
		SettledAt     *time.Time
	}
	reservationRow struct {
		Status      string
		Allocations []events.Allocation
		ReservedAt  *time.Time
		ExpiresAt   *time.Time
		ExpiredAt   *time.Time
		EndedAt     *time.Time
	}
	paymentRow struct {
		Status      string
		Amount      int64
		Currency    string
		ChargeID    string
		RefundID    string
		Reason      *events.Reason
		Attempts    int
		LastError   string
		DueAt       *time.Time
		RequestedAt *time.Time
		CompletedAt *time.Time
		RefusedAt   *time.Time
		EndedAt     *time.Time
	}
)

// books are the rows of one order; nil where a service knows nothing of it.
type books struct {
	checkout    *checkoutRow
	order       *orderRow
	reservation *reservationRow
	payment     *paymentRow
}

func (b *books) tell(id uuid.UUID) *Timeline {
	t := &Timeline{ID: id, Status: "pending"}
	if b.checkout != nil {
		b.tellCheckout(t)
	}
	if b.reservation != nil {
		b.tellReservation(t)
	}
	if b.payment != nil {
		b.tellPayment(t)
	}
	if b.order != nil {
		b.tellOrder(t)
	}
	t.WaitsFor = b.waitsFor()
	t.Done = b.done()
	return t
}

// add notes a moment that has come.
func (t *Timeline) add(at *time.Time, service, what, detail string, bad bool) {
	if at != nil {
		t.Moments = append(t.Moments, Moment{*at, service, what, detail, bad})
	}
}

func (b *books) tellCheckout(t *Timeline) {
	c := b.checkout
	t.Customer, t.Lines, t.TraceID = c.CustomerID, c.Lines, traceID(c.Traceparent)
	t.Total = events.Money{Amount: c.Amount, Currency: c.Currency}
	t.add(&c.PlacedAt, "checkout", "accepted", fmt.Sprintf("%s for %s", plural(len(c.Lines), "line"), Money(t.Total)), false)
	t.add(c.SettledAt, "checkout", "told "+c.Status, why(c.Reason), c.Status == "cancelled")
}

func (b *books) tellReservation(t *Timeline) {
	r := b.reservation
	t.add(r.ReservedAt, "inventory", "reserved", fmt.Sprintf("%s, until %s", places(r.Allocations), clock(r.ExpiresAt)), false)
	t.add(r.ExpiredAt, "inventory", "reservation expired", "asks for the order to be cancelled", true)
	switch r.Status {
	case "refused":
		t.add(r.EndedAt, "inventory", "refused", "nothing is held", true)
	case "released":
		t.add(r.EndedAt, "inventory", "released", places(r.Allocations), false)
	case "shipped":
		t.add(r.EndedAt, "inventory", "shipped", places(r.Allocations), false)
	}
}

func (b *books) tellPayment(t *Timeline) {
	p := b.payment
	total := Money(events.Money{Amount: p.Amount, Currency: p.Currency})
	t.add(p.RequestedAt, "payment", "charging", total, false)
	t.add(p.CompletedAt, "payment", "charged", fmt.Sprintf("%s, %s", total, p.ChargeID), false)
	switch p.Status {
	case "failed":
		t.add(p.EndedAt, "payment", "declined", why(p.Reason), true)
	case "void":
		t.add(p.EndedAt, "payment", "void", "the order was cancelled, nothing was charged", false)
	case "refunded":
		t.add(p.EndedAt, "payment", "refunded", fmt.Sprintf("%s, %s", total, p.RefundID), false)
	}
	switch {
	case p.Status == "refused":
		t.add(p.RefusedAt, "payment", "refused", fmt.Sprintf("waits for an operator (quad payment resume): %s", trouble(p.LastError)), true)
	case p.Attempts > 0:
		b.tellTrouble(t)
	}
}

// tellTrouble tells of attempts at the provider whose outcome was not known.
func (b *books) tellTrouble(t *Timeline) {
	p := b.payment
	if p.DueAt != nil {
		t.add(p.DueAt, "payment", "will ask again", fmt.Sprintf("attempt %d failed: %s", p.Attempts, trouble(p.LastError)), true)
		return
	}
	ended := p.EndedAt
	if ended == nil {
		ended = p.CompletedAt
	}
	t.add(ended, "payment", "asked again", fmt.Sprintf("%s failed, the last with: %s", plural(p.Attempts, "attempt"), trouble(p.LastError)), false)
}

func (b *books) tellOrder(t *Timeline) {
	o := b.order
	t.Status, t.Reason = o.Status, o.Reason
	t.add(o.CancelAskedAt, "customer", "asks to cancel", "", false)
	t.add(o.SettledAt, "order", strings.ToUpper(o.Status), why(o.Reason), o.Status == "cancelled")
	if t.TraceID == "" {
		t.TraceID = traceID(o.Traceparent)
	}
}

// waitsFor names what an unsettled order waits for, or "".
func (b *books) waitsFor() string {
	o, p := b.order, b.payment
	switch {
	case o != nil && o.Status != "pending":
		return ""
	case o == nil || o.PlacedAt == nil:
		return "the order service to hear of it"
	case o.ReservedAt == nil:
		return "stock"
	case p == nil:
		return "the payment service to hear of it"
	case p.Status == "refused":
		return fmt.Sprintf("an operator: the payment provider refuses it (%s)", trouble(p.LastError))
	case p.DueAt != nil && p.Attempts > 0:
		return fmt.Sprintf("the payment provider (tried %d times, again at %s; %s)", p.Attempts, clock(p.DueAt), trouble(p.LastError))
	default:
		return "the payment provider"
	}
}

// done reports whether the order is settled and everybody has followed.
func (b *books) done() bool {
	switch {
	case b.order == nil || b.order.Status == "pending":
		return false
	case b.checkout != nil && b.checkout.Status == "placed":
		return false
	case b.reservation == nil || b.reservation.Status == "held" || b.reservation.Status == "unknown":
		return false
	case b.payment == nil:
		return true
	case b.order.Status == "cancelled":
		return slices.Contains([]string{"unknown", "failed", "void", "refunded"}, b.payment.Status)
	default:
		return b.payment.Status == "completed"
	}
}

// trouble shortens the error of an attempt: the provider's advice is for programs.
func trouble(text string) string {
	const most = 60
	text = strings.TrimPrefix(text, "payment provider: ")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func why(r *events.Reason) string {
	if r == nil {
		return ""
	}
	return r.Message
}

// places lists what lies where.
func places(allocations []events.Allocation) string {
	const most = 4
	var list []string
	for _, a := range allocations[:min(most, len(allocations))] {
		list = append(list, fmt.Sprintf("%d %s in %s", a.Quantity, a.SKU, a.Warehouse))
	}
	if more := len(allocations) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

func clock(t *time.Time) string {
	if t == nil {
		return "?"
	}
	return t.Local().Format("15:04:05")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Money writes an amount for people.
func Money(m events.Money) string {
	digits := events.MinorUnits(m.Currency)
	if digits == 0 {
		return fmt.Sprintf("%d %s", m.Amount, m.Currency)
	}
	text := fmt.Sprintf("%0*d", digits+1, m.Amount)
	point := len(text) - digits
	return text[:point] + "." + text[point:] + " " + m.Currency
}
