package b2b

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/outbox"
)

// erase waits until nothing that is open names the customer: an order, or the policy of a
// company, which only the company may change. What was ordered and decided is the company's
// record and is sealed: it keeps the id, by which nobody is found any more.
func erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	rows, err := tx.Query(ctx, `
		select (select count(*) from orders where ordered_by = $1 and ended_at is null),
			(select count(*) from companies where policy -> 'approvers' @> jsonb_build_array(jsonb_build_object('id', $1::text))
				or policy -> 'delegations' @> jsonb_build_array(jsonb_build_object('from', $1::text))
				or policy -> 'delegations' @> jsonb_build_array(jsonb_build_object('to', $1::text))),
			(select count(*) from orders where ordered_by = $1) + (select count(*) from decisions where $1 in (approver, on_behalf_of))`, c.ID)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("look for a customer: %w", err)
	}
	type counts struct{ Open, Companies, Kept int64 }
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[counts])
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("look for a customer: %w", err)
	}
	var waits []string
	if n.Open > 0 {
		waits = append(waits, fmt.Sprintf("open orders: %d", n.Open))
	}
	if n.Companies > 0 {
		waits = append(waits, fmt.Sprintf("companies whose policy names the customer: %d", n.Companies))
	}
	return erasure.Outcome{Kept: n.Kept, WaitsFor: strings.Join(waits, ", ")}, nil
}
