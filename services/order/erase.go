package order

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/outbox"
)

var customers = erasure.Column{Table: "orders", Name: "customer_id"}

// erase keeps a customer's orders, as the law wants, under an id that leads to nobody. An
// order that is not settled is the customer's yet.
func erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	rows, err := tx.Query(ctx, `select count(*) from orders where customer_id = $1 and status = 'pending'`, c.ID)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("count open orders: %w", err)
	}
	open, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("count open orders: %w", err)
	}
	if open > 0 {
		return erasure.Outcome{WaitsFor: fmt.Sprintf("open orders: %d", open)}, nil
	}
	n, err := customers.Pseudonymise(ctx, tx, c)
	return erasure.Outcome{Pseudonymised: n}, err
}
