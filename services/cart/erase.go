package cart

import (
	"context"
	"fmt"

	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/outbox"
)

// erase deletes a customer's cart. What was ordered of it names the cart only.
func erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	gone, err := tx.Exec(ctx, `delete from carts where customer_id = $1`, c.ID)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("delete carts: %w", err)
	}
	return erasure.Outcome{Deleted: gone.RowsAffected()}, nil
}
