package outbox

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtx"
)

const (
	sampleEvery = 10 * time.Second
	// sampleMost bounds what a sample counts, of each topic set aside and of the rest.
	sampleMost = 100_000
	// depthTimeout bounds the count, which only metrics want.
	depthTimeout = time.Second
)

// Stats counts messages since the start.
type Stats struct {
	// Published to the broker, in how many Calls, and Failed to.
	Published, Calls, Failed int64
	// Recovered came from the table instead of from memory; Deferred found no room
	// in memory when they were committed.
	Recovered, Deferred int64
	// Queued are in memory now, with so many bytes of payload.
	Queued, QueuedBytes int64
}

type counters struct {
	published, calls, failed, recovered, deferred atomic.Int64
}

// Stats returns the outbox's counters.
func (o *Outbox) Stats() Stats {
	c := &o.count
	messages, bytes := o.queue.room()
	return Stats{
		Published: c.published.Load(), Calls: c.calls.Load(), Failed: c.failed.Load(),
		Recovered: c.recovered.Load(), Deferred: c.deferred.Load(),
		Queued: int64(o.cfg.MaxQueued - messages), QueuedBytes: int64(o.cfg.MaxQueuedBytes - bytes),
	}
}

// Backlog is what the table held when it was measured last, some seconds ago.
type Backlog struct {
	// Depth counts the rows, published ones that wait for their removal included, and
	// no more than 100,000 of those set aside of a topic and of all others. The others
	// are those of the last count that ended in time.
	Depth int64
	// Refused are those of them set aside, by topic.
	Refused map[string]int64
	// Oldest is when the oldest was written; zero if there is none.
	Oldest time.Time
}

// Backlog returns the last measurement. Replicas share a table, so each has the
// same.
func (o *Outbox) Backlog() Backlog {
	if b := o.backlog.Load(); b != nil {
		return *b
	}
	return Backlog{}
}

// Age is how old the oldest row is.
func (b Backlog) Age() time.Duration {
	if b.Oldest.IsZero() {
		return 0
	}
	return max(0, time.Since(b.Oldest))
}

// measure counts, and finds which topics have rows set aside. It takes a hundredth
// of the time at most.
func (r *recovery) measure(ctx context.Context) {
	began := time.Now()
	if err := r.sample(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Log.WarnContext(ctx, "outbox could not be measured, will try again", "err", err)
	}
	r.sampled = time.Now().Add(max(0, 100*time.Since(began)-sampleEvery))
}

// sample looks first for what is set aside, as recovery asks for no topic that it does
// not know of, and stores that even where the count fails.
func (r *recovery) sample(ctx context.Context) error {
	b := Backlog{Refused: make(map[string]int64)}
	b.note(r.span.id)
	b.note(r.Slot().Oldest)
	aside, err := r.measureAside(ctx)
	if err != nil {
		return fmt.Errorf("measure what is set aside in the outbox: %w", err)
	}
	for _, a := range aside {
		b.Refused[a.Topic] = a.Rows
		b.Depth += a.Rows
		b.note(a.Oldest)
	}
	r.queue.measured(b.Refused)
	depth, err := r.measureDepth(ctx)
	if err == nil {
		r.depth = depth
	}
	b.Depth += r.depth
	r.backlog.Store(&b)
	if err != nil {
		return fmt.Errorf("count the outbox: %w", err)
	}
	return nil
}

// measureDepth counts what is not set aside. It walks past the dead rows that a long
// snapshot keeps, so it gives up early.
func (r *recovery) measureDepth(ctx context.Context) (depth int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Lease)
	defer cancel()
	err = pgtx.RunWithin(ctx, r.cfg.Pool, pgtx.Limits{Statement: depthTimeout}, func(ctx context.Context, tx *pgtx.Tx) error {
		rows, err := tx.Query(ctx, depthSQL, r.span.from, sampleMost)
		if err != nil {
			return err
		}
		depth, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		return err
	})
	return depth, err
}

const depthSQL = `
	select count(*) from (select from outbox where xid >= $1 and refused = 0 limit $2) o`

// note takes the time of a row into account, as its id, a UUID of version 7, has it.
func (b *Backlog) note(id uuid.NullUUID) {
	if !id.Valid || id.UUID.Version() != 7 {
		return
	}
	if at := time.Unix(id.UUID.Time().UnixTime()); b.Oldest.IsZero() || at.Before(b.Oldest) {
		b.Oldest = at
	}
}

type asideRow struct {
	Topic  string
	Rows   int64
	Oldest uuid.NullUUID
}

func (r *recovery) measureAside(ctx context.Context) ([]asideRow, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Lease)
	defer cancel()
	rows, err := r.cfg.Pool.Query(ctx, asideSQL, sampleMost)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[asideRow])
}

// asideSQL goes from topic to topic by the index.
const asideSQL = `
	with recursive topics as (
		(select topic from outbox where refused > 0 order by topic limit 1)
		union all
		select n.topic from topics t,
			lateral (select topic from outbox where refused > 0 and topic > t.topic order by topic limit 1) n)
	select t.topic, c.rows, (select id from outbox where xid = c.xid order by id limit 1)
	from topics t,
		lateral (select count(*) as rows, min(o.xid) as xid
			from (select xid from outbox where topic = t.topic and refused > 0 limit $1) o) c
	order by t.topic`
