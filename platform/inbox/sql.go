package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const insertRows = `
	insert into inbox (event_id, consumer)
	select id, $2 from unnest($1::uuid[]) id order by id
	on conflict do nothing
	returning event_id`

// insert enters ids and returns those that were not there. A concurrent
// transaction with the same id is waited for. Ids are entered in order, so that
// two batches with common ids cannot deadlock.
func insert(ctx context.Context, tx querier, consumer string, ids []uuid.UUID) (map[uuid.UUID]struct{}, error) {
	rows, err := tx.Query(ctx, insertRows, ids, consumer)
	if err != nil {
		return nil, fmt.Errorf("enter inbox: %w", err)
	}
	fresh := make(map[uuid.UUID]struct{}, len(ids))
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		fresh[id] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("enter inbox: %w", err)
	}
	return fresh, nil
}

// insertAll enters ids with the commit, and fails it as a serialization failure if
// one of them is there. It must be given to the transaction before any other last
// statement: whoever waits for a concurrent one with the same id has changed nothing.
func insertAll(tx committer, consumer string, ids []uuid.UUID) {
	tx.Last(`with entered as (`+insertRows+`) select expect_rows(count(*), $3) from entered`,
		ids, consumer, len(ids))
}

// prune forgets up to limit ids that are older than the retention.
func prune(ctx context.Context, pool *pgxpool.Pool, before time.Time, limit int) (int64, error) {
	tag, err := pool.Exec(ctx, `
		delete from inbox where ctid = any (array(
			select ctid from inbox
			where event_id < $1 and handled_at < $2
			order by event_id limit $3))`,
		lowestV7(before), before, limit)
	if err != nil {
		return 0, fmt.Errorf("prune inbox: %w", err)
	}
	return tag.RowsAffected(), nil
}

// lowestV7 is the lowest UUID of version 7 made at t (RFC 9562, section 5.7).
func lowestV7(t time.Time) uuid.UUID {
	var id uuid.UUID
	ms := t.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the lowest byte is meant
	}
	id[6], id[8] = 0x70, 0x80
	return id
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

type committer interface {
	Last(sql string, args ...any) *pgx.QueuedQuery
}
