package identity

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/outbox"
)

// erase deletes the account at once, open orders or not: its sessions end, and with it goes
// all by which the customer signed in.
func erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return erasure.Outcome{}, nil // accounts have ids of this form only
	}
	if _, err := revoke(ctx, tx, revocation{account: id, reason: identity.ReasonErased}); err != nil {
		return erasure.Outcome{}, err
	}
	gone, err := tx.Exec(ctx, `delete from accounts where id = $1`, id)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("delete an account: %w", err)
	}
	return erasure.Outcome{Deleted: gone.RowsAffected()}, nil
}
