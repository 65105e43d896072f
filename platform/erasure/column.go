package erasure

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
)

// Column has customers' ids, in a table of package aggregate.
type Column struct{ Table, Name string }

// Pseudonymise puts the pseudonym in the place of a customer's id, and counts the rows.
// Who loaded one of them before fails to save it.
func (c Column) Pseudonymise(ctx context.Context, tx *outbox.Tx, who Customer) (int64, error) {
	done, err := tx.Exec(ctx, fmt.Sprintf(`update %[1]s set %[2]s = $2, version = version + 1 where %[2]s = $1`, c.Table, c.Name),
		who.ID, who.Pseudonym)
	if err != nil {
		return 0, fmt.Errorf("pseudonymise %s: %w", c.Table, err)
	}
	return done.RowsAffected(), nil
}

// Keep keeps the customers who are erased so, in what the transaction writes about these
// customers, with its commit. A handler calls it after its own saves, with the ids that
// its events brought.
//
// It waits for an erasure that is being committed. One that is asked for later than this
// statement runs waits for the transaction.
func (c Column) Keep(tx *outbox.Tx, customerIDs []string) {
	if len(customerIDs) == 0 {
		return
	}
	tx.Last(fmt.Sprintf(`
		with asked as (select digest, erased_at from erasures where digest = any($2) for share),
			gone as (select c.id from unnest($1::text[], $2::bytea[]) c (id, digest)
				where (select asked.erased_at from asked where asked.digest = c.digest) is not null)
		update %[1]s t set %[2]s = 'erased-' || gen_random_uuid(), version = t.version + 1
		from gone where t.%[2]s = gone.id`, c.Table, c.Name), customerIDs, digests(customerIDs))
}

func digests(customerIDs []string) [][]byte {
	list := make([][]byte, len(customerIDs))
	for i, id := range customerIDs {
		d := Digest(id)
		list[i] = d[:]
	}
	return list
}

// Asked reports whether the customer must be erased, or was. Where it says no, what the
// transaction writes then is seen by an erasure that is asked for later.
func Asked(ctx context.Context, db aggregate.Querier, customerID string) (bool, error) {
	// An erasure waits for transactions that have an id. One that only reads has none yet.
	rows, err := db.Query(ctx, `select pg_current_xact_id()`)
	if err != nil {
		return false, fmt.Errorf("look for erasures: %w", err)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("look for erasures: %w", err)
	}
	rows, err = db.Query(ctx, `select digest from erasures where digest = any($1) for share`, digests([]string{customerID}))
	if err != nil {
		return false, fmt.Errorf("look for erasures: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return false, fmt.Errorf("look for erasures: %w", err)
	}
	return len(found) > 0, nil
}

// Refused is what a request is answered that would add to what must be erased.
func Refused() error {
	return fault.New(fault.Conflict, "customer_erased", "The customer's data is erased, or is being erased: nothing is added to it.")
}
