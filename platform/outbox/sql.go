package outbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// insert adds the rows of a transaction, leased to this process, at its commit.
func insert(tx *pgtx.Tx, batch []Message, lease time.Duration) {
	if len(batch) == 0 {
		return
	}
	tx.Last(insertSQL, insertArgs(batch, lease)...).QueryRow(func(row pgx.Row) error {
		var xid int64
		if err := row.Scan(&xid); err != nil {
			return fmt.Errorf("insert outbox rows: %w", err)
		}
		for i := range batch {
			batch[i].xid = xid
		}
		return nil
	})
}

func insertArgs(batch []Message, lease time.Duration) []any {
	ids := make([]uuid.UUID, len(batch))
	topics, keys := make([]string, len(batch)), make([]string, len(batch))
	payloads := make([][]byte, len(batch))
	for i, m := range batch {
		ids[i], topics[i], keys[i], payloads[i] = m.ID, m.Topic, m.Key, m.Payload
	}
	return []any{ids, topics, keys, payloads, lease}
}

const insertSQL = `
	with added as (
		insert into outbox (id, topic, key, payload, leased_until)
		select *, clock_timestamp() + $5 from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
		returning xid)
	select max(xid) from added`

// claim leases up to limit rows that nobody holds, oldest transaction first.
//
// Rows are in commit order only below the oldest running transaction: one that
// started earlier may still add rows with a lower xid. PostgreSQL counts those of
// every database of the server, so a long one delays recovery elsewhere. A row whose lease ended
// long ago is taken regardless, or else rows restored from another cluster,
// whose xids may lie in this one's future, would wait for ever.
func claim(ctx context.Context, pool *pgxpool.Pool, lease time.Duration, limit int) ([]Message, error) {
	rows, err := pool.Query(ctx, claimSQL, lease, limit)
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	batch, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Message, error) {
		var m Message
		err := row.Scan(&m.xid, &m.ID, &m.Topic, &m.Key, &m.Payload)
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	slices.SortFunc(batch, func(a, b Message) int { // an update returns in any order
		return cmp.Or(cmp.Compare(a.xid, b.xid), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return batch, nil
}

// The array makes one plan of it, whatever is known of the table's size. Joined,
// the rows would be sought again for each row of a table taken to be empty, as this
// one is most of the time.
const claimSQL = `
	update outbox set leased_until = now() + $1
	where ctid = any (array(
		select ctid from outbox
		where leased_until < now()
		  and (xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
		       or leased_until < now() - interval '10 minutes')
		order by xid, id
		limit $2
		for update skip locked))
	returning xid, id, topic, key, payload`

// remove deletes published rows. One that is gone already is no error.
func remove(ctx context.Context, pool *pgxpool.Pool, batch []Message) error {
	xids, ids := make([]int64, len(batch)), make([]uuid.UUID, len(batch))
	for i, m := range batch {
		xids[i], ids[i] = m.xid, m.ID
	}
	if _, err := pool.Exec(ctx, removeSQL, xids, ids); err != nil {
		return fmt.Errorf("remove outbox rows: %w", err)
	}
	return nil
}

const removeSQL = `
	delete from outbox where ctid = any (array(
		select o.ctid from unnest($1::bigint[], $2::uuid[]) d (xid, id),
			lateral (select ctid from outbox where xid = d.xid and id = d.id limit 1) o))`
