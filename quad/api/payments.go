package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

// Payment is a payment as operators see it.
type Payment struct {
	OrderID     uuid.UUID  `json:"order_id"`
	Status      string     `json:"status"`
	Amount      int64      `json:"amount"`
	Currency    string     `json:"currency"`
	Cancelled   bool       `json:"cancelled"`
	ChargeID    string     `json:"charge_id,omitempty"`
	RefundID    string     `json:"refund_id,omitempty"`
	Attempts    int        `json:"attempts"`
	LastError   string     `json:"last_error,omitempty"`
	Resumable   bool       `json:"resumable"`
	SentAt      *time.Time `json:"sent_at,omitempty"`
	DueAt       *time.Time `json:"due_at,omitempty"`
	RequestedAt *time.Time `json:"requested_at,omitempty"`
	CompletedAt *time.Time `json:"completed_at,omitempty"`
	RefusedAt   *time.Time `json:"refused_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
}

// RefusedPayments lists the payments that the provider refuses, of the oldest
// orders first.
func (a *Admin) RefusedPayments(ctx context.Context) ([]Payment, error) {
	all := []Payment{}
	query := url.Values{"status": {"refused"}, "limit": {"200"}}
	for {
		page, err := call[struct {
			Payments []Payment `json:"payments"`
			Next     string    `json:"next_cursor"`
		}](ctx, a.sender, a.access.request(http.MethodGet, "/v1/payments?"+query.Encode()))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Payments...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// Payment returns the payment of an order.
func (a *Admin) Payment(ctx context.Context, order uuid.UUID) (Payment, error) {
	return call[Payment](ctx, a.sender, a.access.request(http.MethodGet, "/v1/payments/"+order.String()))
}

// ResumePayment has the provider asked once more for what it refused.
func (a *Admin) ResumePayment(ctx context.Context, order uuid.UUID) (Payment, error) {
	return call[Payment](ctx, a.sender, a.access.request(http.MethodPost, "/v1/payments/"+order.String()+"/resume"))
}
