package main

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
)

// Status of a payment.
type Status string

// The statuses. Charging and refunding are intentions that are carried out
// outside any transaction; the others change by events only.
const (
	Unknown   Status = "unknown"   // only the order's cancellation was heard of
	Charging  Status = "charging"  // the customer is to be charged
	Completed Status = "completed" // is charged
	Failed    Status = "failed"    // is not charged and will not be
	Void      Status = "void"      // the order was cancelled before it was to be charged
	Refunding Status = "refunding" // charged, but the order is cancelled
	Refunded  Status = "refunded"
)

// lease is how long whoever took up an intention has to carry it out before it
// is due again: longer than a call of the provider may take.
const lease = 15 * time.Second

// Backoff of attempts at the provider.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// Payment is what is known of an order's payment. The JSON names are the columns.
type Payment struct {
	aggregate.Row

	Status      Status `json:"status"`
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	Token       string `json:"token"`
	TraceParent string `json:"traceparent"`
	// Cancelled says that the order is: what is charged is to be refunded.
	Cancelled bool           `json:"cancelled"`
	ChargeID  string         `json:"charge_id"`
	RefundID  string         `json:"refund_id"`
	Reason    *events.Reason `json:"reason"`
	// Attempts at the present intention that have ended, and how the last did.
	Attempts  int    `json:"attempts"`
	LastError string `json:"last_error"`
	// DueAt is when the present intention is taken up (again).
	DueAt       *time.Time `json:"due_at"`
	RequestedAt *time.Time `json:"requested_at"`
	CompletedAt *time.Time `json:"completed_at"`
	EndedAt     *time.Time `json:"ended_at"`
}

// NewPayment returns the payment of an order not heard of yet.
func NewPayment(order uuid.UUID) *Payment {
	return &Payment{Row: aggregate.Row{ID: order}, Status: Unknown}
}

// Request intends to charge the customer, who takes it up being the caller. An
// order that was cancelled first is never charged.
func (p *Payment) Request(e *events.InventoryReserved, trace string, now time.Time) {
	if p.Status != Unknown {
		return
	}
	p.Amount, p.Currency, p.Token = e.Total.Amount, e.Total.Currency, e.PaymentToken
	p.TraceParent, p.RequestedAt = trace, &now
	if p.Cancelled {
		p.Status, p.EndedAt = Void, &now
		return
	}
	p.intend(Charging, now.Add(lease))
}

// Cancel notes that the order is cancelled. A charge under way is seen through
// first: only its outcome tells whether there is anything to refund.
func (p *Payment) Cancel(now time.Time) {
	p.Cancelled = true
	if p.Status == Completed {
		p.intend(Refunding, now.Add(lease))
	}
}

func (p *Payment) intend(s Status, due time.Time) {
	p.Status, p.DueAt, p.Attempts, p.LastError = s, &due, 0, ""
}

// Charged notes that the provider has charged the customer, and returns what is
// to be announced. An outcome that was noted already changes nothing.
func (p *Payment) Charged(chargeID string, now time.Time) events.Event {
	if p.Status != Charging {
		return nil
	}
	p.Status, p.ChargeID, p.CompletedAt, p.DueAt = Completed, chargeID, &now, nil
	if p.Cancelled {
		p.intend(Refunding, now.Add(lease))
	}
	return &events.PaymentCompleted{Subject: p.subject(), ChargeID: chargeID, Amount: p.total()}
}

// Declined notes that the provider will not charge the customer.
func (p *Payment) Declined(reason events.Reason, now time.Time) events.Event {
	if p.Status != Charging {
		return nil
	}
	p.Status, p.Reason, p.EndedAt, p.DueAt = Failed, &reason, &now, nil
	return &events.PaymentFailed{Subject: p.subject(), Reason: reason}
}

// Returned notes that the provider has refunded the charge.
func (p *Payment) Returned(refundID string, now time.Time) events.Event {
	if p.Status != Refunding {
		return nil
	}
	p.Status, p.RefundID, p.EndedAt, p.DueAt = Refunded, refundID, &now, nil
	return &events.PaymentRefunded{Subject: p.subject(), RefundID: refundID, Amount: p.total()}
}

// Postpone notes an attempt whose outcome is not known and sets the next. It
// never gives up: the customer may have been charged.
func (p *Payment) Postpone(cause string, now time.Time) {
	if p.DueAt == nil {
		return
	}
	pause := min(firstPause<<min(p.Attempts, 10), maxPause)
	due := now.Add(pause/2 + rand.N(pause)) //nolint:gosec // jitter needs no secrecy
	p.Attempts++
	p.DueAt, p.LastError = &due, cause
}

func (p *Payment) subject() events.Subject { return events.Subject{OrderID: p.ID} }

func (p *Payment) total() events.Money { return events.Money{Amount: p.Amount, Currency: p.Currency} }
