// Package audit is what checkout lets auditors read of its books.
package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
)

// Books are those of checkout.
var Books = audit.Books{
	Busy:  `select exists (select from checkouts where status = 'placed')`,
	Story: story,
}

// Progress is that of orders at checkout.
var Progress = audit.Progress{
	Table: "checkouts", Unsettled: "status = 'placed'", UnderWay: "status = 'placed'", Refused: "status = 'cancelled'",
}

// Checkout is what a customer ordered and was told.
type Checkout struct {
	ID       uuid.UUID
	Status   string
	Amount   int64
	Currency string
	PlacedAt time.Time
}

// Checkouts reads all checkouts, or, unless ids is nil, some.
func Checkouts(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Checkout], error) {
	return audit.Read(ctx, db, `select id, status, amount, currency, placed_at from checkouts`+audit.ByID, ids,
		func(c *Checkout) uuid.UUID { return c.ID })
}

type row struct {
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

func story(ctx context.Context, db audit.DB, order uuid.UUID) (*audit.Story, error) {
	c, err := audit.One[row](ctx, db, `
		select status, reason, customer_id, lines, amount, currency, traceparent, placed_at, settled_at
		from checkouts where id = $1`, order)
	if err != nil || c == nil {
		return nil, err
	}
	s := &audit.Story{
		Status: c.Status, Customer: c.CustomerID, Lines: c.Lines, Trace: c.Traceparent,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency},
	}
	s.Tell(&c.PlacedAt, "accepted", fmt.Sprintf("%s for %s", audit.Plural(len(c.Lines), "line"), audit.Money(s.Total)), false)
	s.Tell(c.SettledAt, "told "+c.Status, audit.Why(c.Reason), c.Status == "cancelled")
	return s, nil
}
