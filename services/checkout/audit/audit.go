// Package audit is what checkout lets auditors read of its books.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/audit"
)

// Books are those of checkout.
var Books = audit.Books{
	Busy:      `select exists (select from checkouts where status = 'placed')`,
	Story:     story,
	Customers: []audit.Column{{Table: "checkouts", Name: "customer_id"}},
	Rules: []audit.Rule{{
		// Through JSON, since a database of the release before has no column for quotes.
		Name: "a checkout's total is the sum of its parts, and its quote's", Unit: "checkouts", Count: `select count(*) from checkouts`,
		Faults: `
			select id::text, format('the total is %s, lines come to %s, adjustments to %s, shipping to %s, tax to %s; the quote says %s',
				amount, parts.lines, parts.adjustments, parts.shipping, parts.tax, coalesce(quote ->> 'total', 'nothing'))
			from (select id, amount, lines, nullif(to_jsonb(c) -> 'quote', 'null') as quote from checkouts c) c, lateral (select
				(select coalesce(sum((l ->> 'quantity')::numeric * (l ->> 'unit_price')::numeric), 0)
					from jsonb_array_elements(nullif(c.lines, 'null')) l) as lines,
				(select coalesce(sum((a ->> 'amount')::numeric), 0)
					from jsonb_array_elements(c.quote -> 'lines') l, jsonb_array_elements(l -> 'adjustments') a) as adjustments,
				coalesce((c.quote ->> 'shipping')::numeric, 0) as shipping,
				coalesce((c.quote ->> 'tax')::numeric, 0) as tax) parts
			where amount <> parts.lines + parts.adjustments + parts.shipping + parts.tax or amount <> (quote ->> 'total')::numeric
			order by id`,
	}},
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
	// Voucher is the code of the order's quote, or "".
	Voucher string
}

// Checkouts reads all checkouts, or, unless ids is nil, some. A database of the release before
// has no column for quotes.
func Checkouts(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Checkout], error) {
	return audit.Read(ctx, db, `
		select id, status, amount, currency, placed_at, coalesce(to_jsonb(c) -> 'quote' ->> 'voucher', '') from checkouts c`+audit.ByID, ids,
		func(c *Checkout) uuid.UUID { return c.ID })
}

// Quotes reads the quotes that checkouts were made of, by order. A database of the release
// before has no column for them.
func Quotes(ctx context.Context, db audit.DB, each func(order uuid.UUID, q *price.Quote) error) error {
	rows, err := db.Query(ctx, `
		select id, quote from (select id, nullif(to_jsonb(c) -> 'quote', 'null') as quote from checkouts c) c
		where quote is not null order by id`)
	if err != nil {
		return err
	}
	var order uuid.UUID
	var quote []byte
	_, err = pgx.ForEachRow(rows, []any{&order, &quote}, func() error {
		var q price.Quote
		if err := json.Unmarshal(quote, &q); err != nil {
			return err
		}
		return each(order, &q)
	})
	return err
}

type row struct {
	Status      string
	Reason      *events.Reason
	CustomerID  string
	Lines       []events.Line
	Amount      int64
	Currency    string
	Traceparent string
	Quote       *price.Quote
	PlacedAt    time.Time
	SettledAt   *time.Time
}

// extras are what an order by quote costs beside its lines.
func (c *row) extras() (x events.Extras) {
	if c.Quote == nil {
		return x
	}
	x.Shipping, x.Tax = c.Quote.Shipping, c.Quote.Tax
	for _, a := range c.Quote.Adjustments {
		x.Adjustments = append(x.Adjustments, events.Adjustment{Name: a.Name, Amount: a.Amount})
	}
	return x
}

// by says how an order by quote came about.
func (c *row) by() string {
	switch {
	case c.Quote == nil:
		return ""
	case c.Quote.Voucher != "":
		return ", by quote, with voucher " + c.Quote.Voucher
	default:
		return ", by quote"
	}
}

func story(ctx context.Context, db audit.DB, order uuid.UUID) (*audit.Story, error) {
	c, err := audit.One[row](ctx, db, `
		select status, reason, customer_id, lines, amount, currency, traceparent,
			nullif(to_jsonb(c) -> 'quote', 'null') as quote, placed_at, settled_at
		from checkouts c where id = $1`, order)
	if err != nil || c == nil {
		return nil, err
	}
	s := &audit.Story{
		Status: c.Status, Customer: c.CustomerID, Lines: c.Lines, Trace: c.Traceparent,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency}, Extras: c.extras(),
	}
	s.Tell(&c.PlacedAt, "accepted", fmt.Sprintf("%s for %s%s", audit.Plural(len(c.Lines), "line"), audit.Money(s.Total), c.by()), false)
	s.Tell(c.SettledAt, "told "+c.Status, audit.Why(c.Reason), c.Status == "cancelled")
	return s, nil
}
