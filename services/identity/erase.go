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
	grouped, err := tx.Exec(ctx, `delete from customer_groups where customer_id = $1`, c.ID)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("delete a customer's groups: %w", err)
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return erasure.Outcome{Deleted: grouped.RowsAffected()}, nil //nolint:nilerr // accounts have ids of this form only
	}
	// The account first, as a sign-in does: the session of one at the same time ends too, and they do not wait for each other.
	if _, err := lockAccount(ctx, tx, id); err != nil {
		return erasure.Outcome{}, err
	}
	if err := revoke(ctx, tx, revocation{account: id, reason: identity.ReasonErased}); err != nil {
		return erasure.Outcome{}, err
	}
	if _, err := tx.Exec(ctx, `delete from mails where account_id = $1`, id); err != nil {
		return erasure.Outcome{}, fmt.Errorf("delete mails: %w", err)
	}
	gone, err := tx.Exec(ctx, `delete from accounts where id = $1`, id)
	if err != nil {
		return erasure.Outcome{}, fmt.Errorf("delete an account: %w", err)
	}
	return erasure.Outcome{Deleted: gone.RowsAffected() + grouped.RowsAffected()}, nil
}
