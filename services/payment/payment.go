package payment

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/aggregate"
)

// Status of a payment.
type Status string

// The statuses. Charging and refunding are intentions that are carried out
// outside any transaction; the others change by events only.
const (
	Unknown   Status = "unknown"   // only the order's cancellation was heard of
	Charging  Status = "charging"  // the customer must be charged
	Completed Status = "completed" // is charged
	Failed    Status = "failed"    // is not charged and will not be
	Void      Status = "void"      // the order was cancelled; nothing was charged and nothing will be
	Refunding Status = "refunding" // charged, but the order is cancelled
	Refunded  Status = "refunded"
	Refused   Status = "refused" // the provider refuses the intention; an operator may resume it
)

// lease is how long the process that took up an intention has to carry it out before it
// is due again: longer than a call of the provider may take.
const lease = 15 * time.Second

// Backoff of attempts at the provider.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 30 * time.Second
)

// tokenLife is how long a refused payment keeps its token for an operator to resume
// it. The order is cancelled long before, unless something else is broken too.
const tokenLife = 24 * time.Hour

// Payment is what is known of an order's payment. The JSON names are the columns.
type Payment struct {
	aggregate.Row

	Status   Status `json:"status"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	// Token is the means of payment, "" once nothing can be charged with it any more.
	Token       string `json:"token"`
	TraceParent string `json:"traceparent"`
	// Cancelled says that the order is: what is charged must be refunded.
	Cancelled bool           `json:"cancelled"`
	ChargeID  string         `json:"charge_id"`
	RefundID  string         `json:"refund_id"`
	Reason    *events.Reason `json:"reason,omitempty"`
	// Attempts at the present intention that have ended, and how the last did.
	Attempts  int    `json:"attempts"`
	LastError string `json:"last_error"`
	// DueAt is when the present intention is taken up (again). While somebody carries
	// it out, it is when their lease ends, and tells their attempt from all others.
	DueAt *time.Time `json:"due_at,omitempty"`
	// SentAt is when the first attempt to charge was taken up that is not proved to
	// have stayed here. It is committed before the request can leave; while it is nil,
	// the provider was never asked to charge.
	SentAt      *time.Time `json:"sent_at,omitempty"`
	RequestedAt *time.Time `json:"requested_at,omitempty"`
	CompletedAt *time.Time `json:"completed_at,omitempty"`
	RefusedAt   *time.Time `json:"refused_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
}

// attempt is one time that somebody carries out what a payment intends.
type attempt struct {
	lease    time.Time // its end
	settling bool      // the order was cancelled before
}

func (p *Payment) attempt() attempt { return attempt{lease: *p.DueAt, settling: p.Cancelled} }

// holds reports whether nobody has taken up the intention since the attempt did.
func (p *Payment) holds(a attempt) bool { return p.DueAt != nil && p.DueAt.Equal(a.lease) }

// NewPayment returns the payment of an order not heard of yet.
func NewPayment(order uuid.UUID) *Payment {
	return &Payment{Row: aggregate.Row{ID: order}, Status: Unknown}
}

// Request intends to charge the customer. An order that was cancelled first is
// never charged.
func (p *Payment) Request(e *inventory.Reserved, trace string, now time.Time) {
	if p.Status != Unknown {
		return
	}
	p.Amount, p.Currency = e.Total.Amount, e.Total.Currency
	p.TraceParent, p.RequestedAt = trace, &now
	if p.Cancelled {
		p.void(now)
		return
	}
	p.Token = e.PaymentToken
	p.intend(Charging, now)
}

// TakeUp gives the caller a lease on the intention, and notes, before it can
// happen, that the provider may be asked to charge.
func (p *Payment) TakeUp(now time.Time) {
	due := now.Add(lease)
	p.DueAt = &due
	if p.Status == Charging && !p.Cancelled && p.SentAt == nil {
		p.SentAt = &now
	}
}

// Cancel notes that the order is cancelled. What the provider was never asked for
// is void at once. A charge that may be under way is settled first: only the
// provider knows whether there is anything to refund.
func (p *Payment) Cancel(now time.Time) {
	p.Cancelled = true
	switch {
	case p.Status == Completed:
		p.intend(Refunding, now)
	case p.uncharged() && p.SentAt == nil:
		p.void(now)
	case p.uncharged() && p.Status == Refused:
		p.intend(Charging, now)
	}
}

// uncharged reports whether the customer must be charged and no outcome is known.
func (p *Payment) uncharged() bool {
	return p.Status == Charging || p.Status == Refused && p.ChargeID == ""
}

func (p *Payment) intend(s Status, due time.Time) {
	p.Status, p.DueAt, p.Attempts, p.LastError, p.RefusedAt = s, &due, 0, "", nil
}

// end makes a status final; the token has served.
func (p *Payment) end(s Status, now time.Time) {
	p.Status, p.EndedAt, p.DueAt, p.RefusedAt, p.Token = s, &now, nil, nil, ""
}

func (p *Payment) void(now time.Time) { p.end(Void, now) }

// Charged notes that the provider has charged the customer, and returns what is
// to be announced. An outcome that was noted already changes nothing.
func (p *Payment) Charged(chargeID string, now time.Time) events.Event {
	if !p.uncharged() {
		return nil
	}
	p.Status, p.ChargeID, p.CompletedAt, p.DueAt, p.RefusedAt, p.Token = Completed, chargeID, &now, nil, nil, ""
	if p.Cancelled {
		p.intend(Refunding, now)
	}
	return &payment.Completed{OfOrder: p.subject(), ChargeID: chargeID, Amount: p.total()}
}

// Declined notes that the provider will not charge the customer.
func (p *Payment) Declined(reason events.Reason, now time.Time) events.Event {
	if !p.uncharged() {
		return nil
	}
	p.end(Failed, now)
	p.Reason = &reason
	return &payment.Failed{OfOrder: p.subject(), Reason: reason}
}

// NotCharged notes the provider's word that nothing was charged for a cancelled
// order, nor can be.
func (p *Payment) NotCharged(now time.Time) {
	if p.uncharged() && p.Cancelled {
		p.void(now)
	}
}

// Returned notes that the provider has refunded the charge.
func (p *Payment) Returned(refundID string, now time.Time) events.Event {
	if p.Status != Refunding && (p.Status != Refused || p.ChargeID == "") {
		return nil
	}
	p.end(Refunded, now)
	p.RefundID = refundID
	return &payment.Refunded{OfOrder: p.subject(), RefundID: refundID, Amount: p.total()}
}

// Refuse notes that the provider refuses the intention as such: repeating it would
// change nothing. The charge of an order cancelled meanwhile is settled instead.
func (p *Payment) Refuse(a attempt, cause string, now time.Time) {
	if !p.holds(a) {
		return
	}
	p.Attempts++
	p.LastError = cause
	if p.Status == Charging && p.Cancelled && !a.settling {
		p.DueAt = &now
		return
	}
	p.Status, p.RefusedAt, p.DueAt = Refused, &now, nil
}

// Resume intends once more what the provider refused, and reports whether that is
// possible.
func (p *Payment) Resume(now time.Time) bool {
	switch {
	case p.Status != Refused:
		return false
	case p.ChargeID != "":
		p.intend(Refunding, now)
	case p.Token == "" && !p.Cancelled:
		return false
	default:
		p.intend(Charging, now)
	}
	return true
}

// Unsent notes an attempt that provably did not reach the provider, and whether it
// was tried at all. If no other attempt may have, the provider was not asked.
func (p *Payment) Unsent(a attempt, tried bool, cause string, now time.Time) {
	if !p.holds(a) {
		return
	}
	// The mark is this attempt's own if it was set when its lease began.
	if p.SentAt != nil && p.SentAt.Equal(a.lease.Add(-lease)) {
		p.SentAt = nil
		if p.uncharged() && p.Cancelled {
			p.void(now)
			return
		}
	}
	if tried {
		p.Postpone(a, cause, 0, now)
		return
	}
	p.DueAt, p.LastError = &now, cause
}

// Postpone notes an attempt whose outcome is not known and sets the next, after
// wait at the earliest. It never gives up: the customer may have been charged.
func (p *Payment) Postpone(a attempt, cause string, wait time.Duration, now time.Time) {
	if !p.holds(a) {
		return
	}
	pause := min(firstPause<<min(p.Attempts, 10), maxPause)
	due := now.Add(max(wait, pause/2) + rand.N(pause)) //nolint:gosec // jitter needs no secrecy
	p.Attempts++
	p.DueAt, p.LastError = &due, cause
}

func (p *Payment) subject() events.OfOrder { return events.OfOrder{OrderID: p.ID} }

func (p *Payment) total() events.Money { return events.Money{Amount: p.Amount, Currency: p.Currency} }
