package b2b

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/workflows/b2b/wire"
)

func loadCompany(ctx context.Context, db aggregate.Querier, id string) (*wire.Company, error) {
	rows, err := db.Query(ctx, `select `+aggregate.ColumnsOf[wire.Company]("")+` from companies where id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("load company: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[wire.Company])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "company_not_found", "There is no company %q.", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load company: %w", err)
	}
	c.Policy = wire.Policy(Policy(c.Policy).withDefaults())
	return c, nil
}

// holdCredit holds an amount if the company's limit leaves room for it. One
// statement, so that however many orders ask at once the limit holds.
func holdCredit(ctx context.Context, tx *outbox.Tx, company string, amount int64) (bool, error) {
	return moved(tx.Exec(ctx, `
		update companies set held = held + $2
		where id = $1 and $2 <= credit_limit - held - exposure`, company, amount))
}

// useCredit turns what an order held into exposure.
func useCredit(ctx context.Context, tx *outbox.Tx, company string, amount int64) error {
	return giveBack(ctx, tx, `update companies set held = held - $2, exposure = exposure + $2 where id = $1`, company, amount)
}

// releaseCredit gives back what an order held.
func releaseCredit(ctx context.Context, tx *outbox.Tx, company string, amount int64) error {
	return giveBack(ctx, tx, `update companies set held = held - $2 where id = $1`, company, amount)
}

func giveBack(ctx context.Context, tx *outbox.Tx, sql, company string, amount int64) error {
	_, err := tx.Exec(ctx, sql, company, amount)
	if pgtx.Violates(err, "companies_held_check") {
		return pgtx.ErrStale // another attempt at the same step just gave it back
	}
	return wrap("give back credit", err)
}
