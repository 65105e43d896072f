package checkout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/outbox"
)

// erase keeps a customer's checkouts under an id that leads to nobody. One that is not
// settled is the customer's yet, though the order service may not have heard of it.
func erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	rows, err := tx.Query(ctx, `select count(*) from checkouts where customer_id = $1 and status = 'placed'`, c.ID)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("count open checkouts: %w", err)
	}
	open, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("count open checkouts: %w", err)
	}
	if open > 0 {
		return erasure.Outcome{WaitsFor: fmt.Sprintf("open checkouts: %d", open)}, nil
	}
	// The key is the customer's own text, and the hash is of a request that has the id. The
	// signature of the quote is not kept, so it may name somebody else.
	done, err := tx.Exec(ctx, `
		update checkouts set customer_id = $2, idempotency_key = id::text, request_hash = '', address_id = null,
			quote = jsonb_set(quote, '{customer_id}', to_jsonb($2::text)), version = version + 1
		where customer_id = $1`, c.ID, c.Pseudonym)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("pseudonymise checkouts: %w", err)
	}
	return erasure.Outcome{Pseudonymised: done.RowsAffected()}, nil
}
