package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
)

// ledger is the row of outbox_slot: what is known of the slot, and what follows for the
// outbox. Positions in the server's log are in bytes.
type ledger struct {
	// boundary divides the rows by transaction id: lower ones are published from here,
	// the others by the slot's reader.
	boundary int64
	// cluster and seen tell which slot it is.
	cluster cluster
	seen    sighting
	// mark is a position in the log above the commit of every transaction below horizon.
	// Both are 0 while there is nothing to wait for.
	mark, horizon int64
	// published is the transaction id below which the reader has published all that is its.
	published int64
}

// cluster is a server's history: positions in the log and transaction ids of another say
// nothing here.
type cluster struct {
	system, timeline int64
}

// sighting is how a slot was seen.
type sighting struct {
	started   time.Time // the server
	reader    int32     // the process that has the slot, 0 if none
	confirmed int64
}

// slot is what the server says of the slot now.
type slot struct {
	name string
	// publishes is false where there is none, or one that has lost its log, or that is
	// still being made.
	publishes, lost bool
	reader          int32
	confirmed       int64
	behind          int64
}

// position is where the server is, at one moment after the slot was read.
type position struct {
	cluster cluster
	started time.Time
	// horizon is the oldest running transaction: all below have ended, their commits lie
	// below log.
	horizon int64
	// next is above every transaction that has ended.
	next int64
	log  int64
	// first row of the slot's part that may not be published yet; 0 if none.
	first  int64
	oldest uuid.NullUUID
}

// next is what follows from what is seen now.
func (l ledger) next(s slot, p position) ledger {
	if !s.publishes {
		return ledger{boundary: everything}
	}
	if !l.same(s, p) {
		// This slot may have missed all that has ended, and more: see aboveAll.
		l = ledger{boundary: p.next, published: p.next}
	}
	l.cluster, l.seen = p.cluster, sighting{p.started, s.reader, s.confirmed}
	if l.mark > 0 && s.confirmed >= l.mark {
		l.published = max(l.published, l.horizon)
		l.mark, l.horizon = 0, 0
	}
	if l.mark == 0 && p.first > 0 && p.first < p.horizon && l.published < p.horizon {
		l.mark, l.horizon = p.log, p.horizon
	}
	return l
}

// aboveAll moves a new boundary above every transaction that has begun. One that still seems to
// run may be committed in the log, and wait for a disk or a synchronous standby: a slot that
// begins behind its commit does not show it.
func (l ledger) aboveAll(ctx context.Context, tx pgx.Tx) (ledger, error) {
	err := tx.QueryRow(ctx, `select pg_current_xact_id()::text::bigint`).Scan(&l.boundary)
	if err != nil {
		return l, fmt.Errorf("find a transaction id above all others: %w", err)
	}
	l.published = l.boundary
	return l, nil
}

// same reports whether the slot is surely the one that was seen last, or one that missed
// nothing. Either it has confirmed no more: one made since would have begun at a later
// position, unless nothing was written in between. Or the same process had it all the
// time: a slot that is read cannot be dropped.
func (l ledger) same(s slot, p position) bool {
	if l.boundary == everything || l.cluster != p.cluster || l.boundary > p.next {
		return false
	}
	return s.confirmed <= l.seen.confirmed ||
		s.reader != 0 && s.reader == l.seen.reader && l.seen.started.Equal(p.started)
}

// lockLedger reads the row and locks it, or only reads it where another replica has it
// locked.
func lockLedger(ctx context.Context, tx pgx.Tx) (l ledger, leads bool, err error) {
	for _, sql := range []string{ledgerSQL + ` for update skip locked`, ledgerSQL} {
		err := tx.QueryRow(ctx, sql).Scan(&l.boundary, &l.cluster.system, &l.cluster.timeline,
			&l.seen.started, &l.seen.reader, &l.seen.confirmed, &l.mark, &l.horizon, &l.published)
		if err == nil {
			return l, sql != ledgerSQL, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return l, false, fmt.Errorf("read what is known of the slot: %w", err)
		}
	}
	l = ledger{boundary: everything}
	tag, err := tx.Exec(ctx, newLedgerSQL, l.args()...)
	if err != nil {
		return l, false, fmt.Errorf("begin to keep what is known of the slot: %w", err)
	}
	return l, tag.RowsAffected() == 1, nil
}

const ledgerSQL = `
	select boundary, system, timeline, started, reader, confirmed, mark, horizon, published from outbox_slot`

const newLedgerSQL = `
	insert into outbox_slot (boundary, system, timeline, started, reader, confirmed, mark, horizon, published)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
	on conflict (one) do nothing`

func (l ledger) save(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, saveLedgerSQL, l.args()...); err != nil {
		return fmt.Errorf("keep what is known of the slot: %w", err)
	}
	return nil
}

const saveLedgerSQL = `
	update outbox_slot set boundary = $1, system = $2, timeline = $3, started = $4, reader = $5,
		confirmed = $6, mark = $7, horizon = $8, published = $9`

func (l ledger) args() []any {
	return []any{l.boundary, l.cluster.system, l.cluster.timeline, l.seen.started, l.seen.reader, l.seen.confirmed, l.mark, l.horizon, l.published}
}

func readSlot(ctx context.Context, tx pgx.Tx) (s slot, err error) {
	err = tx.QueryRow(ctx, slotSQL, audit.SlotPrefix).Scan(&s.name, &s.publishes, &s.lost, &s.reader, &s.confirmed, &s.behind)
	if errors.Is(err, pgx.ErrNoRows) {
		return slot{}, nil
	}
	if err != nil {
		return slot{}, fmt.Errorf("look at the replication slot: %w", err)
	}
	return s, nil
}

// A slot that is being made has confirmed nothing, and one whose log was removed, as it
// was too long, is lost.
const slotSQL = `
	select slot_name, confirmed_flush_lsn is not null and coalesce(wal_status, 'lost') <> 'lost',
		confirmed_flush_lsn is not null and coalesce(wal_status, 'lost') = 'lost', coalesce(active_pid, 0),
		coalesce(confirmed_flush_lsn - '0/0', 0)::bigint, coalesce(pg_current_wal_insert_lsn() - confirmed_flush_lsn, 0)::bigint
	from pg_replication_slots
	where slot_name = $1 || regexp_replace(lower(current_database()), '[^a-z0-9]', '_', 'g')
		and database = current_database() and plugin = 'pgoutput' and not temporary`

func readPosition(ctx context.Context, tx pgx.Tx, l ledger) (p position, err error) {
	from := max(l.boundary, l.published)
	err = tx.QueryRow(ctx, positionSQL, from).Scan(&p.cluster.system, &p.cluster.timeline, &p.started,
		&p.horizon, &p.next, &p.log, &p.first, &p.oldest)
	if err != nil {
		return p, fmt.Errorf("look where the server's log is: %w", err)
	}
	return p, nil
}

const positionSQL = `
	select c.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint,
		pg_postmaster_start_time(), pg_snapshot_xmin(s.now)::text::bigint, pg_snapshot_xmax(s.now)::text::bigint,
		(pg_current_wal_insert_lsn() - '0/0')::bigint, coalesce(o.xid, 0), o.id
	from (select pg_current_snapshot() as now) s cross join pg_control_system() c
	left join lateral (select xid, id from outbox where xid >= $1 order by xid, id limit 1) o on true`
