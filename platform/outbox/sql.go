package outbox

import (
	"context"
	"fmt"
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
		select e.id, e.topic, e.key, e.payload, clock_timestamp() + $5
		from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) e (id, topic, key, payload)
		returning xid)
	select max(xid) from added`

// remove deletes published rows. One that is gone already is no error.
func remove(ctx context.Context, pool *pgxpool.Pool, rows []row) error {
	xids, ids := columns(rows)
	if _, err := pool.Exec(ctx, removeSQL, xids, ids); err != nil {
		return fmt.Errorf("remove outbox rows: %w", err)
	}
	return nil
}

const removeSQL = `
	delete from outbox where ctid = any (array(
		select o.ctid from unnest($1::bigint[], $2::uuid[]) d (xid, id),
			lateral (select ctid from outbox where xid = d.xid and id = d.id limit 1) o))`

// refuse sets rows aside that the broker refused by themselves, each time for
// twice as long, and five minutes at most.
func refuse(ctx context.Context, pool *pgxpool.Pool, lease time.Duration, rows []row) error {
	xids, ids := columns(rows)
	if _, err := pool.Exec(ctx, refuseSQL, xids, ids, lease); err != nil {
		return fmt.Errorf("set refused outbox rows aside: %w", err)
	}
	return nil
}

const refuseSQL = `
	update outbox
	set refused = least(greatest(refused, 1) + 1, 1000),
	    leased_until = now() + (0.5 + random()) *
	        least($3::interval * power(2, least(greatest(refused, 1), 10)), interval '5 minutes')
	where ctid = any (array(
		select o.ctid from unnest($1::bigint[], $2::uuid[]) d (xid, id),
			lateral (select ctid from outbox where xid = d.xid and id = d.id limit 1) o))`

func columns(rows []row) ([]int64, []uuid.UUID) {
	xids, ids := make([]int64, len(rows)), make([]uuid.UUID, len(rows))
	for i, r := range rows {
		xids[i], ids[i] = r.xid, r.id
	}
	return xids, ids
}
