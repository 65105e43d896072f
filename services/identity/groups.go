package identity

import (
	"context"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/customer"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// handle keeps the groups that customer says of somebody. The highest version counts, so
// their order does not matter.
func handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	for _, d := range batch {
		e, ok := d.Event.(*customer.GroupsChanged)
		if !ok {
			continue
		}
		erased, err := erasure.Asked(ctx, tx, e.CustomerID)
		if err != nil {
			return err
		}
		if erased {
			continue
		}
		tx.Last(`
			insert into customer_groups as kept (customer_id, groups, version) values ($1, $2, $3)
			on conflict (customer_id) do update set groups = excluded.groups, version = excluded.version
			where kept.version < excluded.version`, e.CustomerID, e.Groups, e.Version)
	}
	return nil
}

// groupsOf returns the groups of a customer, which a token tells price.
func groupsOf(ctx context.Context, db querier, customerID string) ([]string, error) {
	groups, err := one(ctx, db, "groups", pgx.RowTo[[]string], `select groups from customer_groups where customer_id = $1`, customerID)
	if err != nil || groups == nil {
		return nil, err
	}
	return *groups, nil
}
