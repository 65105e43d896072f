package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// Parked is an event that could not be handled.
type Parked struct {
	Consumer    string    `json:"consumer"`
	EventID     uuid.UUID `json:"event_id"`
	Topic       string    `json:"topic"`
	Cause       string    `json:"cause"`
	Attempts    int       `json:"attempts"`
	TraceParent string    `json:"traceparent"`
	Payload     []byte    `json:"payload"`
	ParkedAt    time.Time `json:"parked_at"`
	TriedAt     time.Time `json:"tried_at"`
}

const maxCause = 4_000 // bytes; a panic brings its stack

// parkedOf makes the row of a message. One without a usable id gets an id made
// of its content, so that its repetitions are parked once.
func parkedOf(consumer string, m *Message, cause error) Parked {
	p := Parked{
		Consumer: consumer, EventID: m.delivery.ID, Topic: storable(m.Topic), Cause: cause.Error(),
		Attempts: max(m.attempts, 1), TraceParent: storable(m.delivery.Trace), Payload: m.Payload,
	}
	if p.EventID == uuid.Nil {
		p.EventID = uuid.NewSHA1(uuid.NameSpaceOID, m.Payload)
	}
	if p.Payload == nil {
		p.Payload = []byte{} // an empty message, which must not become a NULL
	}
	if len(p.Cause) > maxCause {
		p.Cause = p.Cause[:maxCause]
	}
	p.Cause = storable(p.Cause)
	return p
}

// storable replaces what PostgreSQL does not take in a text: broken UTF-8, NUL.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

func insertParked(ctx context.Context, pool *pgxpool.Pool, p Parked) error {
	_, err := pool.Exec(ctx, `
		insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload)
		values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (consumer, event_id) do update
		set cause = excluded.cause, attempts = parked.attempts + excluded.attempts, tried_at = now()`,
		p.Consumer, p.EventID, p.Topic, p.Cause, p.Attempts, p.TraceParent, p.Payload)
	if err != nil {
		return fmt.Errorf("park event: %w", err)
	}
	return nil
}

const parkedColumns = `consumer, event_id, topic, cause, attempts, traceparent, payload, parked_at, tried_at`

// ListParked returns up to limit parked events, oldest first.
func (in *Inbox) ListParked(ctx context.Context, limit int) ([]Parked, error) {
	rows, err := in.cfg.Pool.Query(ctx,
		`select `+parkedColumns+` from parked order by parked_at, event_id limit $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list parked events: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Parked])
}

// GetParked returns one parked event, or ErrNotParked.
func (in *Inbox) GetParked(ctx context.Context, id uuid.UUID) (Parked, error) {
	return queryParked(ctx, in.cfg.Pool, in.cfg.Consumer, id, "")
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

type committer interface {
	Last(sql string, args ...any) *pgx.QueuedQuery
}

func queryParked(ctx context.Context, db querier, consumer string, id uuid.UUID, lock string) (Parked, error) {
	rows, err := db.Query(ctx,
		`select `+parkedColumns+` from parked where consumer = $1 and event_id = $2 `+lock, consumer, id)
	if err != nil {
		return Parked{}, fmt.Errorf("get parked event: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Parked])
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNotParked
	}
	return p, err
}
