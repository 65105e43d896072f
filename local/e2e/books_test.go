package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// books reads the services' databases, as the auditor may.
type books struct {
	pools map[string]*pgxpool.Pool
}

func (s *system) openBooks(ctx context.Context) error {
	s.books = &books{pools: map[string]*pgxpool.Pool{}}
	for _, app := range s.Apps() {
		pool, err := pgxpool.New(ctx, s.AuditorURL(app))
		if err != nil {
			return err
		}
		s.books.pools[app] = pool
	}
	return nil
}

func (b *books) close() {
	for _, pool := range b.pools {
		pool.Close()
	}
}

// outcome is what the services think of an order; "" is nothing.
type outcome struct {
	checkout, order, reservation, payment string
	reason                                string // the order service's
	checkoutReason                        string
}

// settled reports what an order still waits for, or nil.
func (o outcome) settled() error {
	var final bool
	switch o.order {
	case "confirmed":
		final = o.checkout == "confirmed" && o.reservation == "shipped" && o.payment == "completed"
	case "cancelled":
		final = o.checkout == "cancelled" && o.checkoutReason == o.reason
		switch o.reservation {
		case "refused": // payment never hears of it but for the cancellation
			final = final && o.payment == "unknown"
		case "released":
			final = final && (o.payment == "void" || o.payment == "failed" || o.payment == "refunded")
		default:
			final = false
		}
	}
	if !final {
		return fmt.Errorf("not settled: %+v", o)
	}
	return nil
}

// outcomes looks up orders in all four databases.
func (b *books) outcomes(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]*outcome, error) {
	found := make(map[uuid.UUID]*outcome, len(ids))
	for _, id := range ids {
		found[id] = &outcome{}
	}
	for _, look := range []struct {
		app, sql string
		note     func(o *outcome, status, reason string)
	}{
		{"checkout", `select id, status, coalesce(reason->>'code', '') from checkouts where id = any($1)`,
			func(o *outcome, status, reason string) { o.checkout, o.checkoutReason = status, reason }},
		{"order", `select id, status, coalesce(reason->>'code', '') from orders where id = any($1)`,
			func(o *outcome, status, reason string) { o.order, o.reason = status, reason }},
		{"inventory", `select id, status, '' from reservations where id = any($1)`,
			func(o *outcome, status, _ string) { o.reservation = status }},
		{"payment", `select id, status, '' from payments where id = any($1)`,
			func(o *outcome, status, _ string) { o.payment = status }},
	} {
		rows, err := b.pools[look.app].Query(ctx, look.sql, ids)
		if err != nil {
			return nil, err
		}
		var id uuid.UUID
		var status, reason string
		if _, err := pgx.ForEachRow(rows, []any{&id, &status, &reason}, func() error {
			look.note(found[id], status, reason)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// awaitSettled waits until every service is done with the orders and says the
// same of them, and returns that.
func (s *system) awaitSettled(t *testing.T, within time.Duration, ids ...uuid.UUID) map[uuid.UUID]*outcome {
	t.Helper()
	var found map[uuid.UUID]*outcome
	eventually(t, within, "orders settled", func(ctx context.Context) (err error) {
		if found, err = s.books.outcomes(ctx, ids); err != nil {
			return err
		}
		var open []error
		for id, o := range found {
			if err := o.settled(); err != nil {
				open = append(open, fmt.Errorf("%s: %w", id, err))
			}
		}
		if len(open) > 0 {
			return fmt.Errorf("%d of %d orders are open, one is %w", len(open), len(ids), open[0])
		}
		return nil
	})
	return found
}

// balanced proves the books as a whole: of all orders that any test ever placed.
func (s *system) balanced(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "books balanced", func(ctx context.Context) error {
		return errors.Join(s.books.quiet(ctx), s.books.stockConserved(ctx), s.moneyMatches(ctx))
	})
}

// quiet checks that nothing waits to be published and nothing is parked.
func (b *books) quiet(ctx context.Context) error {
	for app, pool := range b.pools {
		var outbox, parked int
		err := pool.QueryRow(ctx, `select (select count(*) from outbox), (select count(*) from parked)`).Scan(&outbox, &parked)
		if err != nil {
			return err
		}
		if outbox > 0 || parked > 0 {
			return fmt.Errorf("%s has %d events in its outbox and %d parked", app, outbox, parked)
		}
	}
	return nil
}

// stockConserved checks that what lies in a warehouse is what was ever brought in
// less what was shipped, and that what is held belongs to live reservations.
func (b *books) stockConserved(ctx context.Context) error {
	rows, err := b.pools["inventory"].Query(ctx, `
		with moved as (select sku, warehouse, sum(delta) as units from stock_movements group by 1, 2),
		drawn as (
			select a.sku, a.warehouse,
			       sum(a.quantity) filter (where r.status = 'shipped') as shipped,
			       sum(a.quantity) filter (where r.status = 'held') as held
			from reservations r, jsonb_to_recordset(r.allocations) a (sku text, warehouse text, quantity bigint)
			where jsonb_typeof(r.allocations) = 'array' group by 1, 2)
		select sku || ' in ' || warehouse from stock
		left join moved using (sku, warehouse) left join drawn using (sku, warehouse)
		where on_hand <> coalesce(units, 0) - coalesce(shipped, 0) or stock.held <> coalesce(drawn.held, 0)`)
	if err != nil {
		return err
	}
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("stock is not conserved: %v", wrong)
	}
	return err
}

// charge is a charge in the provider's ledger.
type charge struct {
	ID             string
	Amount         int64
	AmountRefunded int64 `json:"amount_refunded"`
	Metadata       struct {
		OrderID uuid.UUID `json:"order_id"`
	}
}

// charges reads the provider's whole ledger, by order.
func (s *system) charges(ctx context.Context) (map[uuid.UUID][]charge, error) {
	all := map[uuid.UUID][]charge{}
	cursor := ""
	for {
		a, err := s.send(ctx, http.MethodGet, s.PSPURL()+"/v1/charges?limit=1000"+cursor, s.providerAuth(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Data    []charge
			HasMore bool `json:"has_more"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		for _, c := range page.Data {
			all[c.Metadata.OrderID] = append(all[c.Metadata.OrderID], c)
		}
		if !page.HasMore {
			return all, nil
		}
		cursor = "&starting_after=" + page.Data[len(page.Data)-1].ID
	}
}

// moneyMatches checks that a confirmed order is charged once and any other one
// not, or refunded.
func (s *system) moneyMatches(ctx context.Context) error {
	charged, err := s.charges(ctx)
	if err != nil {
		return err
	}
	rows, err := s.books.pools["order"].Query(ctx, `select id, status, amount from orders`)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var status string
	var amount int64
	_, err = pgx.ForEachRow(rows, []any{&id, &status, &amount}, func() error {
		err := settledWith(status, amount, charged[id])
		delete(charged, id)
		if err != nil {
			return fmt.Errorf("order %s: %w", id, err)
		}
		return nil
	})
	if err == nil && len(charged) > 0 {
		err = fmt.Errorf("%d charges belong to no order", len(charged))
	}
	return err
}

func settledWith(status string, amount int64, charges []charge) error {
	var kept []int64
	for _, c := range charges {
		if left := c.Amount - c.AmountRefunded; left != 0 {
			kept = append(kept, left)
		}
	}
	switch {
	case status == "confirmed" && len(charges) == 1 && len(kept) == 1 && kept[0] == amount:
	case status == "cancelled" && len(charges) <= 1 && len(kept) == 0:
	default:
		return fmt.Errorf("is %s over %d, with charges %+v", status, amount, charges)
	}
	return nil
}
