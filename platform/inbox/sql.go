package inbox

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

type committer interface {
	Last(sql string, args ...any) *pgx.QueuedQuery
}
