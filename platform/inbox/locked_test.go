package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/group"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
)

// lockable is a service of one worker whose events each change a row of their own.
type lockable struct {
	*world
}

func newLockable(t *testing.T) *lockable {
	l := &lockable{newWorld(t, note)}
	l.exec(`create table row_of (event_id uuid primary key, changes int not null default 0);
		grant select, insert, update, delete on row_of to ` + pgtest.RuntimeRole)
	l.inbox = inbox.New(inbox.Config{
		Consumer: consumer, Pool: l.pool, Outbox: l.outbox, Log: slog.New(slog.DiscardHandler),
		Group: group.Config{Workers: 1, Max: 400},
		Handler: func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			ids := make([]uuid.UUID, len(batch))
			for i, d := range batch {
				ids[i] = d.ID
			}
			if _, err := tx.Exec(ctx, `
				update row_of r set changes = changes + 1
				from (select event_id from row_of where event_id = any($1) order by event_id for update) l
				where r.event_id = l.event_id`, ids); err != nil {
				return err
			}
			return note(ctx, tx, batch)
		},
	})
	run(t, l.inbox)
	return l
}

// events makes events that have rows.
func (l *lockable) events(n int) (ids []uuid.UUID, raw [][]byte) {
	l.Helper()
	for range n {
		id, payload := event(l)
		ids, raw = append(ids, id), append(raw, payload)
	}
	l.exec(`insert into row_of (event_id) select unnest($1::uuid[])`, ids)
	return ids, raw
}

// lock keeps an event's row locked, as a session that was left open does.
func (l *lockable) lock(id uuid.UUID) (release func()) {
	l.Helper()
	tx, err := l.pool.Begin(context.Background())
	if err != nil {
		l.Fatal(err)
	}
	release = func() {
		if err := tx.Rollback(context.Background()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			l.Error(err)
		}
	}
	l.Cleanup(release)
	if _, err := tx.Exec(context.Background(), `select from row_of where event_id = $1 for update`, id); err != nil {
		l.Fatal(err)
	}
	return release
}

// handle hands events over until so many at most are left, which it returns: where the
// machine is busy, a healthy one may be out of time as well, and comes again.
func (w *world) handle(raw [][]byte, most int) (again [][]byte) {
	w.Helper()
	again = w.again(raw)
	for until := time.Now().Add(time.Minute); len(again) > most && time.Now().Before(until); {
		again = w.again(again)
	}
	return again
}

// again handles a batch and returns the events that will come again.
func (w *world) again(raw [][]byte) (waits [][]byte) {
	w.Helper()
	batch := messages(raw...)
	if err := w.inbox.Handle(w.Context(), batch); err != nil {
		w.Fatal(err)
	}
	for i, m := range batch {
		if m.Verdict == inbox.Again {
			waits = append(waits, raw[i])
		}
	}
	return waits
}

// A row that somebody keeps locked holds up the one event that needs it, not those
// beside it nor those behind it.
func TestALockedRowHoldsUpItsEventAlone(t *testing.T) {
	l := newLockable(t)
	ids, raw := l.events(100)
	release := l.lock(ids[41])
	again := l.handle(raw, 1)
	if len(again) != 1 || string(again[0]) != string(raw[41]) {
		t.Fatalf("%d of 100 events are to come again, want the one whose row is locked", len(again))
	}
	// While it stays so, the one comes again and again amid fresh ones.
	handled := append(ids[:41:41], ids[42:]...)
	for range 10 {
		fresh, payloads := l.events(50)
		handled = append(handled, fresh...)
		if left := l.handle(append(again, payloads...), 1); len(left) != 1 {
			t.Errorf("%d events are to come again, want one", len(left))
		}
	}
	l.wantEffects(handled...)
	if n := l.count("parked"); n != 0 || l.inbox.Alarm() != nil {
		t.Errorf("%d are parked, alarm %v: a lock is no fault", n, l.inbox.Alarm())
	}
	release()
	if left := l.handle(again, 0); len(left) != 0 {
		t.Error("it is still to come again, though the lock has ended")
	}
	l.wantEffects(append(handled, ids[41])...)
}

// newSlow makes a service of which one event, to be named, takes longer than a statement may.
func newSlow(t *testing.T, sleep func(context.Context, *outbox.Tx) error) (*world, *uuid.UUID) {
	bad := new(uuid.UUID)
	w := newWorld(t, note)
	w.inbox = inbox.New(inbox.Config{
		Consumer: consumer, Pool: w.pool, Outbox: w.outbox, Log: slog.New(slog.DiscardHandler),
		Group: group.Config{Workers: 1, Max: 400},
		Handler: func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			if slices.ContainsFunc(batch, func(d inbox.Delivery) bool { return d.ID == *bad }) {
				if err := sleep(ctx, tx); err != nil {
					return err
				}
			}
			return note(ctx, tx, batch)
		},
	})
	run(t, w.inbox)
	return w, bad
}

func sleeps(times int, seconds float64) func(context.Context, *outbox.Tx) error {
	return func(ctx context.Context, tx *outbox.Tx) error {
		for range times {
			if _, err := tx.Exec(ctx, `select pg_sleep($1)`, seconds); err != nil {
				return err
			}
		}
		return nil
	}
}

// An event that takes longer than a statement may, or than all of its statements may,
// holds up itself alone, whatever was in the way of others.
func TestASlowEventHoldsUpItselfAlone(t *testing.T) {
	for name, sleep := range map[string]func(context.Context, *outbox.Tx) error{
		"one statement":      sleeps(1, 60),
		"several statements": sleeps(9, 0.9),
		"many statements":    sleeps(60, 0.3),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, bad := newSlow(t, sleep)
			var handled []uuid.UUID
			for suspects := range int64(2) { // with none known, and with one, when batches hurry
				var ids []uuid.UUID
				var raw [][]byte
				for range 100 {
					id, payload := event(t)
					ids, raw = append(ids, id), append(raw, payload)
				}
				*bad = ids[41]
				waits := w.handle(raw, 1)
				if len(waits) != 1 || !bytes.Equal(waits[0], raw[41]) {
					t.Errorf("%d events wait, want the slow one", len(waits))
				}
				handled = append(append(handled, ids[:41]...), ids[42:]...)
				w.wantEffects(handled...)
				if n := w.inbox.Stats().Suspects; n != suspects+1 {
					t.Errorf("%d suspects, want %d", n, suspects+1)
				}
			}
		})
	}
}

// A suspect that needs longer than a short try has it in the end.
func TestASuspectHasLongerTries(t *testing.T) {
	var millis atomic.Int64
	millis.Store(60_000)
	w, bad := newSlow(t, func(ctx context.Context, tx *outbox.Tx) error {
		_, err := tx.Exec(ctx, `select pg_sleep($1::float8 / 1000)`, millis.Load())
		return err
	})
	id, raw := event(t)
	other, second := event(t)
	*bad = id
	if left := w.handle([][]byte{raw, second}, 1); len(left) != 1 || !bytes.Equal(left[0], raw) {
		t.Fatalf("%d events wait, want the slow one", len(left))
	}
	millis.Store(700)
	if left := w.handle([][]byte{raw}, 0); len(left) != 0 {
		t.Error("it is still to come again")
	}
	w.wantEffects(id, other)
	if s := w.inbox.Stats(); s.Suspects != 0 {
		t.Errorf("%d suspects are left", s.Suspects)
	}
}
