package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/seal"
)

// resealer brings what the master key before has sealed under the one of now, so that the
// one before can be dropped.
type resealer struct {
	pool *pgxpool.Pool
	box  *seal.Box
	// older is what the key before still seals.
	older atomic.Int64
}

// lasting is what stays sealed, by its table, the column of its id, and what it is sealed for.
var lasting = []struct {
	table, id string
	place     func(id string) string
}{
	{"secrets", "name", func(id string) string { return id }},
	{"signing_keys", "id", keyPlace},
}

// run seals again what lasts, and counts what passes by itself: mails to be sent, and what
// was mailed, live half an hour. Replicas do the same side by side.
func (r *resealer) run(ctx context.Context) (more bool, err error) {
	var older int64
	var faults []error
	for _, l := range lasting {
		rows, err := r.pool.Query(ctx, fmt.Sprintf(`select %s, sealed from %s where substring(sealed from 1 for $2) <> $1`, l.id, l.table),
			r.box.KeyID(), len(r.box.KeyID()))
		if err != nil {
			return false, fmt.Errorf("look for what must be sealed again: %w", err)
		}
		type sealed struct {
			ID     string
			Sealed []byte
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealed])
		if err != nil {
			return false, fmt.Errorf("look for what must be sealed again: %w", err)
		}
		for _, f := range found {
			plain, err := r.box.Open(l.place(f.ID), f.Sealed)
			if err == nil {
				_, err = r.pool.Exec(ctx, fmt.Sprintf(`update %s set sealed = $3 where %s = $1 and sealed = $2`, l.table, l.id),
					f.ID, f.Sealed, r.box.Seal(l.place(f.ID), plain))
			}
			if err != nil {
				older++
				faults = append(faults, fmt.Errorf("seal %s of %s again: %w", f.ID, l.table, err))
			}
		}
	}
	var passing int64
	err = r.pool.QueryRow(ctx, `
		select (select count(*) from mails where substring(address from 1 for $2) <> $1)
			+ (select count(*) from mailed_tokens where substring(old from 1 for $2) <> $1 and expires_at > now())`,
		r.box.KeyID(), len(r.box.KeyID())).Scan(&passing)
	if err != nil {
		return false, fmt.Errorf("count what is sealed by the master key before: %w", err)
	}
	r.older.Store(older + passing)
	return false, errors.Join(faults...)
}
