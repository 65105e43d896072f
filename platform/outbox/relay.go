package outbox

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

const (
	publishers     = 4       // batches under way at once, each of another topic
	maxBatch       = 200     // messages in one publish call
	maxBatchBytes  = 2 << 20 // in one publish call: daprd takes 4 MiB unless told otherwise
	publishTimeout = 4 * time.Second
	claimBatch     = 1_000
	maxBackoff     = 10 * time.Second

	removeEvery   = 250 * time.Millisecond
	removeBatch   = 2_000
	removeTimeout = 3 * time.Second
)

// Stats counts messages since the start.
type Stats struct {
	// Published to the broker, in how many Calls, and Failed to.
	Published, Calls, Failed int64
	// Recovered came from the table instead of from memory; Deferred found no room
	// in memory when they were committed.
	Recovered, Deferred int64
	// Queued are in memory now.
	Queued int64
}

type counters struct {
	published, calls, failed, recovered, deferred atomic.Int64

	broken atomic.Bool // the last call failed
}

// Stats returns the outbox's counters.
func (o *Outbox) Stats() Stats {
	c := &o.count
	return Stats{
		Published: c.published.Load(), Calls: c.calls.Load(), Failed: c.failed.Load(),
		Recovered: c.recovered.Load(), Deferred: c.deferred.Load(),
		Queued: int64(o.cfg.MaxQueued - o.queue.room()),
	}
}

// publish takes batch after batch from the queue to the broker.
func (o *Outbox) publish(ctx context.Context) {
	for {
		batch := o.queue.pull(ctx, maxBatch)
		if batch == nil {
			return
		}
		o.publishBatch(ctx, batch)
		o.queue.done(batch)
	}
}

func (o *Outbox) publishBatch(ctx context.Context, batch []Message) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	topic := batch[0].Topic
	failed, err := o.cfg.Publisher.Publish(ctx, topic, batch)
	o.count.calls.Add(1)
	o.count.broken.Store(err != nil)
	taken := without(batch, failed)
	if err != nil && len(failed) == 0 {
		taken = nil
	}
	o.count.published.Add(int64(len(taken)))
	o.removal.add(taken)
	if refused := len(batch) - len(taken); refused > 0 {
		o.count.failed.Add(int64(refused))
		o.cfg.Log.WarnContext(ctx, "publish failed, will recover from the outbox",
			"topic", topic, "events", refused, "err", err)
	}
}

func without(batch []Message, ids []uuid.UUID) []Message {
	if len(ids) == 0 {
		return batch
	}
	drop := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		drop[id] = struct{}{}
	}
	kept := make([]Message, 0, len(batch))
	for _, m := range batch {
		if _, ok := drop[m.ID]; !ok {
			kept = append(kept, m)
		}
	}
	return kept
}

// recoverLoop brings rows left behind back into the queue, until ctx ends. It
// backs off while the broker takes nothing.
func (o *Outbox) recoverLoop(ctx context.Context) {
	wait := o.cfg.Poll
	for {
		more, err := o.recoverOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			o.cfg.Log.WarnContext(ctx, "outbox recovery failed, will try again", "err", err)
			wait = min(2*wait, maxBackoff)
		case o.count.broken.Load():
			wait = min(2*wait, maxBackoff)
		case more:
			wait = 10 * time.Millisecond // a backlog: go on as soon as there is room
		default:
			wait = o.cfg.Poll
		}
		if pgtx.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// recoverOnce claims rows as far as memory has room and queues them. It reports
// whether there may be more.
func (o *Outbox) recoverOnce(ctx context.Context) (more bool, err error) {
	// Each claim walks past the rows that are leased, so a few at a time are not
	// worth it.
	limit := min(claimBatch, o.queue.room())
	if limit < min(claimBatch, (o.cfg.MaxQueued+1)/2) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Lease)
	defer cancel()
	batch, err := claim(ctx, o.cfg.Pool, o.cfg.Lease, limit)
	if err != nil {
		return false, err
	}
	o.count.recovered.Add(int64(len(batch)))
	o.offer(batch)
	return len(batch) == limit, nil
}

// removal deletes published rows some time later, many at once. A row whose
// removal is lost is published again, under the same id.
type removal struct {
	pool *pgxpool.Pool

	mu     sync.Mutex
	rows   []Message
	closed chan struct{}
}

func newRemoval(pool *pgxpool.Pool) *removal {
	return &removal{pool: pool, closed: make(chan struct{})}
}

func (r *removal) add(batch []Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range batch {
		r.rows = append(r.rows, Message{ID: m.ID, xid: m.xid})
	}
}

func (r *removal) close() { close(r.closed) }

func (r *removal) run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(removeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.flush(ctx, log)
		case <-r.closed:
			r.flush(context.WithoutCancel(ctx), log)
			return
		}
	}
}

// flush removes all rows there are. Those it fails on wait for the next time.
func (r *removal) flush(ctx context.Context, log *slog.Logger) {
	r.mu.Lock()
	rows := r.rows
	r.rows = nil
	r.mu.Unlock()
	for len(rows) > 0 {
		n := min(len(rows), removeBatch)
		tctx, cancel := context.WithTimeout(ctx, removeTimeout)
		err := remove(tctx, r.pool, rows[:n])
		cancel()
		if err != nil {
			log.WarnContext(ctx, "published events stay in the outbox for now", "events", len(rows), "err", err)
			r.mu.Lock()
			r.rows = append(rows, r.rows...)
			r.mu.Unlock()
			return
		}
		rows = rows[n:]
	}
}
