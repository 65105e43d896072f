package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/quad/provider"
	"quadrille.internal/quad/verify"
)

// books are the services' databases, read as the auditor, and the provider's ledger.
type books struct {
	pools  map[string]*pgxpool.Pool
	ledger *provider.Client
	erp    *provider.ERP
}

func (s *system) openBooks(ctx context.Context) error {
	s.books = &books{pools: map[string]*pgxpool.Pool{}, ledger: provider.New(s.PSPURL(), s.PSPKey()), erp: provider.NewERP(s.ERPURL(), s.ERPKey())}
	for _, app := range s.WithDatabase() {
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
	b.ledger.Close()
	b.erp.Close()
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
	eventually(t, soon, "books balanced", func(ctx context.Context) error {
		report, err := verify.Run(ctx, verify.Sources{
			Databases: s.books.pools, Provider: s.books.ledger, ERP: s.books.erp, Settle: 15 * time.Second,
		})
		switch {
		case err != nil: // connections that a killed server has left
			return err
		case !report.Quiet || !report.OK():
			return fmt.Errorf("quiet: %v\n%s", report.Quiet, &report)
		}
		return nil
	})
}

// charged adds up what the provider took for an order, and what of that it kept.
func (s *system) charged(t *testing.T, id uuid.UUID) (charged, kept int64) {
	t.Helper()
	charges, err := s.books.ledger.Charges(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	refunds, err := s.books.ledger.Refunds(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	refunded := map[string]int64{}
	for _, r := range refunds {
		refunded[r.Charge] += r.Amount
	}
	for _, c := range charges {
		if c.Metadata.OrderID == id.String() {
			charged += c.Amount
			kept += c.Amount - refunded[c.ID]
		}
	}
	return charged, kept
}
