package inbox

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Ids are entered in order, so that two batches with common ids cannot deadlock. A
// concurrent transaction with the same id is waited for.
const insertRows = `
	insert into inbox (event_id, consumer)
	select id, $2 from unnest($1::uuid[]) id order by id
	on conflict do nothing
	returning event_id`

// known returns those of ids that have been entered. It locks nothing: one that asked
// first and entered at once would hold the id while waiting for what the handler
// locks, and another with the same id, who did not ask, the reverse.
func known(ctx context.Context, tx querier, consumer string, ids []uuid.UUID) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, knownSQL, ids, consumer)
	if err != nil {
		return nil, fmt.Errorf("look into inbox: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("look into inbox: %w", err)
	}
	return found, nil
}

// Id by id, so that each is looked for in its own day's partition only.
const knownSQL = `
	select e.event_id from unnest($1::uuid[]) d (id),
		lateral (select event_id from inbox where event_id = d.id and consumer = $2 limit 1) e`

// insertAll enters ids with the commit, and fails it as a serialization failure if
// one of them is there. It must be given to the transaction before any other last
// statement: one that waits for a concurrent one with the same id has changed nothing.
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
