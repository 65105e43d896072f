package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtx"
)

const (
	claimBatch  = 1_000
	asideBatch  = 5_000
	maxBackoff  = 10 * time.Second
	backlogWait = 10 * time.Millisecond // between claims that found as much as they asked for

	// A look at everything, dead rows included, may take long. It is taken at the start,
	// and for rows restored from another cluster now and then.
	fullLookTimeout = 5 * time.Minute
	strandedEvery   = 5 * time.Minute

	// Looks that find nothing take a fifth of the time at most, those at everything a
	// twentieth.
	idleFactor     = 4
	strandedFactor = 19
)

// recovery brings rows left behind back into the queue: of a process that died,
// of a broker that was away, of memory that was full. It belongs to one goroutine.
type recovery struct {
	*Outbox
	span    span      // zero before the first look
	sampled time.Time // when the table was measured last
	depth   int64     // rows not set aside, as counted last
}

// recoverLoop runs until ctx ends.
func (o *Outbox) recoverLoop(ctx context.Context) {
	r := &recovery{Outbox: o}
	wait := o.cfg.Poll
	for {
		if r.span.from > 0 && time.Since(r.sampled) >= sampleEvery {
			r.measure(ctx)
		}
		began := time.Now()
		more, err := r.once(ctx)
		took := time.Since(began)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			o.cfg.Log.WarnContext(ctx, "outbox recovery failed, will try again", "err", err)
			wait = min(2*wait, maxBackoff)
		case more:
			wait = backlogWait // as soon as there is room
		default:
			wait = max(o.cfg.Poll, min(idleFactor*took, maxBackoff))
		}
		if pgtx.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// once claims rows as far as memory has room and queues them. It reports whether
// there may be more.
func (r *recovery) once(ctx context.Context) (more bool, err error) {
	if _, room := r.demand(); !room {
		return true, nil
	}
	if err := r.look(ctx); err != nil {
		return false, err
	}
	t := r.queue.topics()
	for _, step := range []func(context.Context, topics) (bool, error){r.claim, r.setAside, r.claimAside} {
		left, err := r.within(ctx, func(ctx context.Context) (bool, error) { return step(ctx, t) })
		if err != nil {
			return false, err
		}
		more = more || left
	}
	return more, nil
}

// within bounds a claim: what it leased must still be its own when it is published.
func (r *recovery) within(ctx context.Context, f func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Lease)
	defer cancel()
	return f(ctx)
}

// look brings the span up to date. The first one has to pass all dead rows.
func (r *recovery) look(ctx context.Context) error {
	find := func(ctx context.Context, db querier) error {
		s, err := look(ctx, db, r.span.from, r.slot.limit())
		if err == nil {
			if !r.span.server.IsZero() && !s.server.Equal(r.span.server) {
				s.from = 0
			}
			r.span = s
		}
		return err
	}
	if r.span.from == 0 {
		return r.patiently(ctx, func(ctx context.Context, tx pgx.Tx) error { return find(ctx, tx) })
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Lease)
	defer cancel()
	return find(ctx, r.cfg.Pool)
}

// patiently runs fn in a transaction whose statements may take long.
func (o *Outbox) patiently(ctx context.Context, fn func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, fullLookTimeout)
	defer cancel()
	return pgtx.Run(ctx, o.cfg.Pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`set local statement_timeout = %d`, fullLookTimeout.Milliseconds())); err != nil {
			return fmt.Errorf("allow a long look at the outbox: %w", err)
		}
		return fn(ctx, tx)
	})
}

// demand is what the queue has room for, and false if that is so little that a
// claim, which walks past what is leased, is not worth it.
func (o *Outbox) demand() (demand, bool) {
	rows, bytes := o.queue.room()
	d := demand{rows: min(claimBatch, rows), bytes: bytes}
	return d, d.rows >= min(claimBatch, (o.cfg.MaxQueued+1)/2) && d.bytes >= (o.cfg.MaxQueuedBytes+7)/8
}

// took queues what was claimed and reports whether that was all that was asked for.
func (o *Outbox) took(batch []Message, d demand) bool {
	bytes := 0
	for _, m := range batch {
		bytes += len(m.Payload)
	}
	o.count.recovered.Add(int64(len(batch)))
	o.offer(batch)
	return len(batch) >= d.rows || bytes >= d.bytes
}

// claim takes what lies there for good topics.
func (r *recovery) claim(ctx context.Context, t topics) (more bool, err error) {
	d, ok := r.demand()
	if !ok {
		return true, nil
	}
	if r.span.from >= r.span.horizon {
		return false, nil
	}
	batch, err := claim(ctx, r.cfg.Pool, r.cfg.Lease, r.span, d, t.failing)
	if err != nil {
		return false, err
	}
	return r.took(batch, d), nil
}

// setAside takes what lies there for failing topics out of the way.
func (r *recovery) setAside(ctx context.Context, t topics) (more bool, err error) {
	if len(t.failing) == 0 || r.span.from >= r.span.horizon {
		return false, nil
	}
	moved, rows, err := setAside(ctx, r.cfg.Pool, r.span, t.failing, asideBatch)
	if err != nil {
		return false, err
	}
	r.queue.setAside(moved)
	return rows == asideBatch, nil
}

// claimAside takes what was set aside: of a failing topic one row to try it with,
// of others whatever is due, each its share.
func (r *recovery) claimAside(ctx context.Context, t topics) (more bool, err error) {
	d, ok := r.demand()
	if !ok || len(t.aside) == 0 {
		return !ok, nil
	}
	share := max(1, d.rows/len(t.aside))
	var from []string
	var most []int32
	for _, topic := range t.aside {
		paused, failing := t.paused[topic]
		switch {
		case paused:
		case failing:
			from, most = append(from, topic), append(most, 1)
		default:
			from, most = append(from, topic), append(most, int32(share)) //nolint:gosec // at most claimBatch
		}
	}
	if len(from) == 0 {
		return false, nil
	}
	batch, err := claimAside(ctx, r.cfg.Pool, r.cfg.Lease, from, most, d.bytes)
	if err != nil {
		return false, err
	}
	return r.took(batch, demand{max(share, 2), d.bytes}), nil
}

// strandedLoop finds rows that recovery never comes to, until ctx ends.
func (o *Outbox) strandedLoop(ctx context.Context) {
	for {
		began := time.Now()
		if err := o.recoverStranded(ctx); err != nil && ctx.Err() == nil {
			o.cfg.Log.WarnContext(ctx, "full look at the outbox failed, will try again", "err", err)
		}
		if pgtx.Sleep(ctx, max(strandedEvery, strandedFactor*time.Since(began))) != nil {
			return
		}
	}
}

// recoverStranded passes the whole table once.
func (o *Outbox) recoverStranded(ctx context.Context) error {
	var from int64
	for {
		d, ok := o.demand()
		if !ok {
			if err := pgtx.Sleep(ctx, o.cfg.Poll); err != nil {
				return err
			}
			continue
		}
		failing := o.queue.topics().failing
		var batch []Message
		err := o.patiently(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
			batch, err = claimStranded(ctx, tx, o.cfg.Lease, from, o.slot.limit(), d, failing)
			return err
		})
		if err != nil {
			return err
		}
		if !o.took(batch, d) {
			return nil
		}
		from = batch[len(batch)-1].xid
	}
}
