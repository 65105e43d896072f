package inbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// The table of handled events has a partition for each day on which ids were made.
// They are made ahead, and dropped once all of their events were handled longer ago
// than the retention: see migration 00007.
const (
	// Retention is how long the ids of handled events are remembered: longer than any
	// broker keeps a message.
	Retention = 15 * 24 * time.Hour

	daysAhead  = 7
	pruneFirst = 20 * time.Second // after the start, when others want the processor, and after a failure
	pruneEvery = 10 * time.Minute
	pruneBatch = 5_000
	// firstDaysFor is how long the start may wait for partitions.
	firstDaysFor = 5 * time.Second

	day = 24 * time.Hour
	// lateFrom is the age of an id at which it is late: its day's partition is kept for
	// longer. Beyond lateUntil there is none.
	lateFrom  = day
	lateUntil = 60 * day
)

// firstDays makes the partitions that are missing at the start, before events come in:
// the more of a day's ids are in the default partition, the longer they take to move.
func (in *Inbox) firstDays(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstDaysFor)
	defer cancel()
	if err := makeDays(ctx, in.cfg.Pool, time.Now()); err != nil {
		in.cfg.Log.WarnContext(ctx, "the days ahead of the inbox are not prepared; will try again", "err", err)
	}
}

func (in *Inbox) pruneLoop(ctx context.Context) {
	for wait := pruneFirst; pgtx.Sleep(ctx, wait) == nil; {
		wait = pruneEvery
		if err := prune(ctx, in.cfg.Pool, time.Now()); err != nil && ctx.Err() == nil {
			// Somebody was writing, most likely. There is a week for it.
			wait = pruneFirst
			in.cfg.Log.WarnContext(ctx, "handled events are not forgotten, or the days ahead not prepared; will try again", "err", err)
		}
	}
}

// prune makes the partitions of the days ahead and forgets what no broker can repeat.
// Several replicas may do so at once. What fails does not keep the rest from being done.
func prune(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	return errors.Join(makeDays(ctx, pool, now), dropDays(ctx, pool), forget(ctx, pool))
}

// makeDays begins with the farthest day: the next ones have been made, as a rule, and
// where they have not, theirs are the ids in the default partition.
func makeDays(ctx context.Context, pool *pgxpool.Pool, now time.Time) (failed error) {
	for ahead := daysAhead; ahead >= 0; ahead-- {
		var made bool
		if err := pool.QueryRow(ctx, `select inbox_add_day($1)`, now.UTC().AddDate(0, 0, ahead)).Scan(&made); err != nil {
			failed = errors.Join(failed, fmt.Errorf("make inbox partition %d days ahead: %w", ahead, err))
		}
	}
	return failed
}

func dropDays(ctx context.Context, pool *pgxpool.Pool) error {
	for {
		var dropped *string
		if err := pool.QueryRow(ctx, `select inbox_drop_day($1)`, Retention).Scan(&dropped); err != nil {
			return fmt.Errorf("drop inbox partition: %w", err)
		}
		if dropped == nil {
			return nil
		}
	}
}

func forget(ctx context.Context, pool *pgxpool.Pool) error {
	for {
		var n int64
		if err := pool.QueryRow(ctx, `select inbox_forget($1, $2)`, Retention, pruneBatch).Scan(&n); err != nil {
			return fmt.Errorf("prune inbox: %w", err)
		}
		if n < pruneBatch {
			return nil
		}
	}
}

// noteLate notes, with the commit, the days whose partitions must be kept for longer,
// since ids made then are handled only now. As a rule there are none.
func noteLate(tx committer, ids []uuid.UUID, now time.Time) {
	var days map[time.Time]struct{}
	for _, id := range ids {
		made := madeAt(id)
		if age := now.Sub(made); age < lateFrom || age > lateUntil {
			continue
		}
		if days == nil {
			days = make(map[time.Time]struct{})
		}
		days[made.UTC().Truncate(day)] = struct{}{}
	}
	if days == nil {
		return
	}
	list := make([]time.Time, 0, len(days))
	for d := range days {
		list = append(list, d)
	}
	// A note of less than an hour ago is good enough, and not locked.
	tx.Last(`
		insert into inbox_late as l (day, handled_at)
		select d, now() from unnest($1::date[]) d
		where not exists (select from inbox_late o where o.day = d and o.handled_at > now() - interval '1 hour')
		order by d
		on conflict (day) do update set handled_at = excluded.handled_at where l.handled_at < excluded.handled_at`, list)
}

// madeAt is the time that an id of version 7 carries. In others it is any.
func madeAt(id uuid.UUID) time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))) //nolint:gosec // 48 bits
}
