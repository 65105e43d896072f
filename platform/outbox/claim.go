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
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// span is where recovery looks for rows that are not set aside.
type span struct {
	// from is the lowest transaction id that has such a row, or horizon if none below
	// horizon has. No row below it will come: what is below the horizon is committed
	// and seen, or never will be. So claims begin there and do not pass the dead rows
	// that somebody's long snapshot keeps.
	from int64
	// horizon is the oldest running transaction. Rows are in commit order only below
	// it: one that started earlier may still add rows with a lower xid. PostgreSQL
	// counts those of every database of the server, so a long one delays recovery
	// elsewhere. What a replication slot's reader publishes lies above the horizon, too.
	horizon int64
	// id of the first row, if there is one.
	id uuid.NullUUID
	// server is since when the server runs that this holds for. One that crashed, or took
	// over, may give transaction ids again of which nothing was written.
	server time.Time
}

// look finds the span below limit, given that nothing is below from.
func look(ctx context.Context, db querier, from, limit int64) (span, error) {
	var s span
	if err := db.QueryRow(ctx, lookSQL, from, limit).Scan(&s.horizon, &s.from, &s.id, &s.server); err != nil {
		return s, fmt.Errorf("find the oldest outbox row: %w", err)
	}
	if s.horizon < from { // another cluster, restored or promoted: from is of its predecessor
		s.from = 0
	}
	return s, nil
}

const lookSQL = `
	select h.xid, coalesce(o.xid, h.xid), o.id, pg_postmaster_start_time()
	from (select least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, $2) as xid) h
	left join lateral (
		select xid, id from outbox
		where xid >= $1 and xid < h.xid and refused = 0
		order by xid, id limit 1) o on true`

// demand is how much a claim may bring: so many rows, and rows as long as those
// before them have fewer bytes than that.
type demand struct{ rows, bytes int }

// claim leases rows that nobody holds and that are not set aside, oldest
// transaction first, but none of these topics.
func claim(ctx context.Context, db querier, lease time.Duration, s span, d demand, except []string) ([]Message, error) {
	return collect(db.Query(ctx, claimSQL, lease, d.rows, d.bytes, s.from, s.horizon, except))
}

// The arrays make one plan of it, whatever is known of the table's size. Joined,
// the rows would be sought again for each row of a table taken to be empty, as this
// one is most of the time.
const claimSQL = `
	with free as materialized (
		select ctid as at, xid, id, octet_length(payload) as size from outbox
		where xid >= $4 and xid < $5 and refused = 0 and leased_until < now() and topic <> all ($6)
		order by xid, id
		limit $2
		for update skip locked)` + leaseSQL

// leaseSQL leases the first of the rows that a statement found free.
const leaseSQL = `,
	fitting as (select at, sum(size) over (order by xid, id) - size as before from free)
	update outbox set leased_until = now() + $1
	where ctid = any (array(select at from fitting where before < $3))
	returning xid, id, topic, key, refused, payload`

// claimStranded leases rows whose lease ended long ago, wherever they are: those
// restored from another cluster, whose xids may lie in this one's future. It
// passes all dead rows there are. No slot's reader saw those: they are above its part.
func claimStranded(ctx context.Context, db querier, lease time.Duration, from, limit int64, d demand, except []string) ([]Message, error) {
	return collect(db.Query(ctx, strandedSQL, lease, d.rows, d.bytes, from, except, limit))
}

const strandedSQL = `
	with free as materialized (
		select ctid as at, xid, id, octet_length(payload) as size from outbox
		where xid >= $4 and refused = 0 and leased_until < now() - interval '10 minutes' and topic <> all ($5)
			and (xid < $6 or xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
		order by xid, id
		limit $2
		for update skip locked)` + leaseSQL

// claimAside leases rows that were set aside and are due, so many of each topic.
func claimAside(ctx context.Context, db querier, lease time.Duration, topics []string, most []int32, bytes int) ([]Message, error) {
	return collect(db.Query(ctx, claimAsideSQL, lease, most, bytes, topics))
}

const claimAsideSQL = `
	with free as materialized (
		select f.at, f.xid, f.id, f.size
		from unnest($4::text[], $2::int[]) t (topic, most),
			lateral (select ctid as at, xid, id, octet_length(payload) as size from outbox
				where topic = t.topic and refused > 0 and leased_until < now()
				order by leased_until
				limit t.most
				for update skip locked) f)` + leaseSQL

func collect(rows pgx.Rows, err error) ([]Message, error) {
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	batch, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Message, error) {
		var m Message
		err := row.Scan(&m.xid, &m.ID, &m.Topic, &m.Key, &m.refused, &m.Payload)
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

// setAside moves rows of topics that the broker refuses out of the way of the
// others, so many at most, and returns which topics had any, and how many there
// were. They stay due: their topic says when they are tried.
func setAside(ctx context.Context, db querier, s span, topics []string, most int) (moved []string, rows int, err error) {
	if err := db.QueryRow(ctx, setAsideSQL, s.from, s.horizon, topics, most).Scan(&moved, &rows); err != nil {
		return nil, 0, fmt.Errorf("set outbox rows aside: %w", err)
	}
	return moved, rows, nil
}

const setAsideSQL = `
	with aside as (
		update outbox set refused = 1
		where ctid = any (array(
			select ctid from outbox
			where xid >= $1 and xid < $2 and refused = 0 and leased_until < now() and topic = any ($3)
			order by xid, id
			limit $4
			for update skip locked))
		returning topic)
	select coalesce(array_agg(distinct topic), '{}'), count(*) from aside`
