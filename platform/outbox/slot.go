package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	slotTimeout = 5 * time.Second
	// slotBatch rows are deleted in one statement.
	slotBatch = 5_000
	// slotStale is how far a slot may lag behind without new rows of the outbox: a slot
	// keeps the log that the whole server writes, so it is told to go on.
	slotStale = 16 << 20
	// everything is the boundary where no slot publishes.
	everything = math.MaxInt64
)

// slotWatch divides the outbox between this process and the reader of a replication slot,
// who publishes what was inserted as logical decoding shows it. One number does: rows
// whose transaction id is below the boundary are published from here, as ever, those
// from it on by the slot's reader. Without a slot the boundary is above all rows.
//
// A row of the slot's part is deleted once the slot has confirmed the position of its
// commit: the reader confirms what the broker has. A slot that is dropped and made again
// under its name would confirm as well, but never saw the rows in between. So a slot that
// is not surely the one that was seen before is taken for another: the boundary moves
// above all rows there are, and they are published from here. At worst they are
// published twice.
type slotWatch struct {
	every time.Duration
	pool  *pgxpool.Pool
	log   *slog.Logger

	boundary atomic.Int64
	known    atomic.Bool // boundary was read
	state    atomic.Pointer[SlotState]
	// swept is up to where this process has deleted what was published.
	swept int64
}

// SlotState is what was seen of the slot last.
type SlotState struct {
	// Publishes says that there is a slot which can publish. Whether it does, Reading and
	// Behind tell. Gone says that there is none, so that this process publishes. Neither is
	// known before the first look.
	Publishes, Gone bool
	// Reading says that somebody reads the slot at this moment.
	Reading bool
	// Behind is how much log it has still to confirm, in bytes.
	Behind int64
	// Oldest is the oldest row that is the slot's.
	Oldest uuid.NullUUID
}

// Lag is for how long the oldest event has waited for the slot's reader to confirm it.
func (s SlotState) Lag() time.Duration {
	var b Backlog
	b.note(s.Oldest)
	return b.Age()
}

func newSlotWatch(cfg Config) *slotWatch {
	return &slotWatch{every: cfg.Poll / 4, pool: cfg.Pool, log: cfg.Log}
}

// limit is the boundary: nothing is claimed as long as it is not known.
func (w *slotWatch) limit() int64 {
	switch {
	case w == nil:
		return everything
	case !w.known.Load():
		return 0
	}
	return w.boundary.Load()
}

// publishes reports whether the slot's reader publishes what is committed now.
func (w *slotWatch) publishes() bool { return w != nil && w.limit() != everything }

// Slot returns what was seen of the slot last: nothing without Config.BySlot.
func (o *Outbox) Slot() SlotState {
	if o.slot == nil {
		return SlotState{}
	}
	if s := o.slot.state.Load(); s != nil {
		return *s
	}
	return SlotState{}
}

// run looks at the slot until ctx ends.
func (w *slotWatch) run(ctx context.Context) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	var failed bool
	for {
		err := w.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failed: // once: what it cannot do, it tries again and again
			w.log.WarnContext(ctx, "the outbox cannot look at its replication slot, will try again; nothing is deleted meanwhile", "err", err)
		case err == nil && failed:
			w.log.InfoContext(ctx, "the outbox looks at its replication slot again")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// once brings the boundary up to date and deletes what was published.
func (w *slotWatch) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	var l ledger
	var state SlotState
	var leads bool
	err := pgx.BeginTxFunc(ctx, w.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
		if l, leads, err = lockLedger(ctx, tx); err != nil || !leads {
			return err
		}
		l, state, err = w.observe(ctx, tx, l)
		return err
	})
	if err != nil {
		return err
	}
	w.boundary.Store(l.boundary)
	w.known.Store(true)
	if !leads {
		return nil
	}
	w.state.Store(&state)
	return w.sweep(ctx, l)
}

// observe compares the slot with what was known of it and keeps what follows. The caller
// has the ledger locked: of the replicas one looks at a time, so that they agree.
func (w *slotWatch) observe(ctx context.Context, tx pgx.Tx, was ledger) (ledger, SlotState, error) {
	// In this order: the slot has whatever begins once it was seen.
	s, err := readSlot(ctx, tx)
	if err != nil {
		return was, SlotState{}, err
	}
	p, err := readPosition(ctx, tx, was)
	if err != nil {
		return was, SlotState{}, err
	}
	state := SlotState{Publishes: s.publishes, Gone: !s.publishes, Reading: s.reader != 0, Behind: s.behind, Oldest: p.oldest}
	now := was.next(s, p)
	if now.boundary != was.boundary {
		if now.boundary != everything {
			if now, err = now.aboveAll(ctx, tx); err != nil {
				return was, state, err
			}
		}
		w.report(ctx, was, now, s)
	}
	if now.mark > was.mark || s.reader != 0 && s.behind > slotStale {
		// A transaction for the reader to confirm. Nothing else may follow here for long,
		// and other databases' log is nothing to it.
		if _, err := tx.Exec(ctx, `select pg_logical_emit_message(true, 'quadrille.outbox', '')`); err != nil {
			return now, state, fmt.Errorf("give the slot's reader something to confirm: %w", err)
		}
	}
	if now == was {
		return now, state, nil
	}
	return now, state, now.save(ctx, tx)
}

func (w *slotWatch) report(ctx context.Context, was, now ledger, s slot) {
	switch {
	case now.boundary == everything && s.lost:
		w.log.ErrorContext(ctx, "the replication slot is lost: its reader was so far behind that PostgreSQL removed log it needs (max_slot_wal_keep_size). "+
			"Events are published from here. Drop the slot, and have the connector forget where it was", "slot", s.name)
	case now.boundary == everything:
		w.log.WarnContext(ctx, "the replication slot is gone: events are published from here until there is one again")
	case was.boundary == everything:
		w.log.InfoContext(ctx, "the replication slot publishes from now on")
	default:
		w.log.InfoContext(ctx, "the replication slot may be another than before: what is left in the outbox is published from here")
	}
}

// sweep deletes what the slot's reader has published.
func (w *slotWatch) sweep(ctx context.Context, l ledger) error {
	from := max(l.boundary, w.swept)
	if w.swept > l.published { // it is a new boundary
		from = l.boundary
	}
	for from < l.published {
		tag, err := w.pool.Exec(ctx, sweepSQL, from, l.published, slotBatch)
		if err != nil {
			return fmt.Errorf("delete published outbox rows: %w", err)
		}
		if tag.RowsAffected() == 0 {
			break
		}
	}
	w.swept = l.published
	return nil
}

const sweepSQL = `
	delete from outbox where ctid = any (array(
		select ctid from outbox where xid >= $1 and xid < $2 order by xid, id limit $3))`
