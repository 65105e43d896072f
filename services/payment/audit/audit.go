// Package audit is what payment lets auditors read of its books.
package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
)

// Books are those of payment.
var Books = audit.Books{
	Busy:  `select exists (select from payments where due_at is not null or status = 'unknown' and not cancelled)`,
	Story: story,
}

// Progress is that of payments.
var Progress = audit.Progress{Table: "payments", UnderWay: "due_at is not null"}

// Payment is what payment knows of an order's money.
type Payment struct {
	ID        uuid.UUID
	Status    string
	ChargeID  string
	RefundID  string
	Attempts  int
	LastError string
	DueAt     *time.Time
}

// Payments reads all payments, or, unless ids is nil, some.
func Payments(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Payment], error) {
	return audit.Read(ctx, db, `
		select id, status, charge_id, refund_id, attempts, last_error, due_at from payments`+audit.ByID, ids,
		func(p *Payment) uuid.UUID { return p.ID })
}

type row struct {
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

func story(ctx context.Context, db audit.DB, order uuid.UUID) (*audit.Story, error) {
	p, err := audit.One[row](ctx, db, `
		select status, amount, currency, charge_id, refund_id, reason, attempts, last_error, due_at,
			requested_at, completed_at, refused_at, ended_at
		from payments where id = $1`, order)
	if err != nil || p == nil {
		return nil, err
	}
	s := &audit.Story{Status: p.Status, Waits: audit.Wait{What: p.waits()}}
	total := audit.Money(events.Money{Amount: p.Amount, Currency: p.Currency})
	s.Tell(p.RequestedAt, "charging", total, false)
	s.Tell(p.CompletedAt, "charged", fmt.Sprintf("%s, %s", total, p.ChargeID), false)
	switch p.Status {
	case "failed":
		s.Tell(p.EndedAt, "declined", audit.Why(p.Reason), true)
	case "void":
		s.Tell(p.EndedAt, "void", "the order was cancelled, nothing was charged", false)
	case "refunded":
		s.Tell(p.EndedAt, "refunded", fmt.Sprintf("%s, %s", total, p.RefundID), false)
	}
	switch {
	case p.Status == "refused":
		s.Tell(p.RefusedAt, "refused", fmt.Sprintf("waits for an operator (quad payment resume): %s", p.trouble()), true)
	case p.Attempts > 0:
		p.tellTrouble(s)
	}
	return s, nil
}

// tellTrouble tells of attempts at the provider whose outcome was not known.
func (p *row) tellTrouble(s *audit.Story) {
	if p.DueAt != nil {
		s.Tell(p.DueAt, "will ask again", fmt.Sprintf("attempt %d failed: %s", p.Attempts, p.trouble()), true)
		return
	}
	ended := p.EndedAt
	if ended == nil {
		ended = p.CompletedAt
	}
	s.Tell(ended, "asked again", fmt.Sprintf("%s failed, the last with: %s", audit.Plural(p.Attempts, "attempt"), p.trouble()), false)
}

// waits says what an order waits for that waits for its payment.
func (p *row) waits() string {
	switch {
	case p.Status == "refused":
		return fmt.Sprintf("an operator: the payment provider refuses it (%s)", p.trouble())
	case p.DueAt != nil && p.Attempts > 0:
		return fmt.Sprintf("the payment provider (tried %d times, again at %s; %s)", p.Attempts, audit.Clock(p.DueAt), p.trouble())
	default:
		return "the payment provider"
	}
}

// trouble shortens the error of the last attempt: the provider's advice is for programs.
func (p *row) trouble() string {
	const most = 60
	text := strings.TrimPrefix(p.LastError, "payment provider: ")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
