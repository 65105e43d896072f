// Package wire is what payment's HTTP API answers operators, for the service and for its
// clients. docs/openapi.yaml describes it.
package wire

import (
	"time"

	"github.com/google/uuid"
)

// Payment is a payment as operators see it: never its token.
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

// Payments is a page of payments.
type Payments struct {
	Payments []Payment `json:"payments"`
	Next     string    `json:"next_cursor,omitempty"`
}
