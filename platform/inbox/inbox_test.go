package inbox_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

func TestEffectOnce(t *testing.T) {
	t.Run("twice in one batch", func(t *testing.T) {
		w := newWorld(t, note)
		one, a := event(t)
		two, b := event(t)
		w.deliver(inbox.Done, a, b, a, a)
		w.wantEffects(one, two)
		if s := w.inbox.Stats(); s.Handled != 4 || s.Duplicates != 2 || s.Batches != 1 {
			t.Errorf("stats %+v", s)
		}
	})
	t.Run("again later", func(t *testing.T) {
		w := newWorld(t, note)
		one, a := event(t)
		two, b := event(t)
		w.deliver(inbox.Done, a)
		w.deliver(inbox.Done, a, b)
		w.deliver(inbox.Done, b)
		w.wantEffects(one, two)
	})
	t.Run("again later, to a handler that cannot have it twice", func(t *testing.T) {
		var calls atomic.Int32
		w := newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			calls.Add(1)
			if err := note(ctx, tx, batch); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into one_effect (one) values (1)`)
			return err
		})
		id, raw := event(t)
		w.deliver(inbox.Done, raw)
		for range 5 {
			w.deliver(inbox.Done, raw)
		}
		w.wantEffects(id)
		if n := w.count("parked"); n != 0 {
			t.Errorf("%d parked, though it had had its effect", n)
		}
		// The first repetition comes as a surprise, those behind it do not.
		if n := calls.Load(); n != 2 {
			t.Errorf("the handler was called %d times, want 2", n)
		}
	})
	t.Run("at the same moment, at two replicas", func(t *testing.T) {
		w := newWorld(t, note)
		replicas := []*inbox.Inbox{w.inbox, w.replica(note)}
		id, raw := event(t)
		var deliveries sync.WaitGroup
		for i := range 20 {
			deliveries.Go(func() {
				batch := messages(raw)
				if err := replicas[i%2].Handle(t.Context(), batch); err != nil || batch[0].Verdict != inbox.Done {
					t.Errorf("verdict %v, %v", batch[0].Verdict, err)
				}
			})
		}
		deliveries.Wait()
		w.wantEffects(id)
	})
}

// Batches that have events in common in opposite order must not deadlock.
func TestOverlappingBatches(t *testing.T) {
	w := newWorld(t, note)
	replicas := []*inbox.Inbox{w.inbox, w.replica(note)}
	var ids []uuid.UUID
	var forth, back [][]byte
	for range 50 {
		id, raw := event(t)
		ids, forth, back = append(ids, id), append(forth, raw), append([][]byte{raw}, back...)
	}
	var deliveries sync.WaitGroup
	for i, payloads := range [][][]byte{forth, back, forth, back} {
		deliveries.Go(func() {
			if err := replicas[i%2].Handle(t.Context(), messages(payloads...)); err != nil {
				t.Error(err)
			}
		})
	}
	deliveries.Wait()
	w.wantEffects(ids...)
	if s := w.inbox.Stats(); s.Again != 0 {
		t.Errorf("%d events must be delivered again", s.Again)
	}
}

func TestOneBadEventOfAHundredFailsAlone(t *testing.T) {
	bad := make(map[uuid.UUID]error)
	w := newWorld(t, failing(bad))
	var good []uuid.UUID
	var payloads [][]byte
	for i := range 100 {
		id, raw := event(t)
		payloads = append(payloads, raw)
		if i == 37 {
			bad[id] = errPoison
		} else {
			good = append(good, id)
		}
	}
	w.deliver(inbox.Done, payloads...)
	w.wantEffects(good...)
	p := w.parked()
	if bad[p.EventID] == nil || p.Consumer != consumer || p.Topic != topic || p.Attempts != 3 ||
		!strings.Contains(p.Cause, errPoison.Error()) || !strings.Contains(p.TraceParent, traceID) ||
		string(p.Payload) != string(payloads[37]) || time.Since(p.ParkedAt) > time.Minute {
		t.Errorf("parked %+v", p)
	}
	if n := w.count("inbox"); n != 99 {
		t.Errorf("%d inbox rows, want 99: a parked event has not been handled", n)
	}
}

func TestAPanicIsParkedWithItsCause(t *testing.T) {
	w := newWorld(t, func(context.Context, *outbox.Tx, []inbox.Delivery) error { panic("index out of luck") })
	_, raw := event(t)
	w.deliver(inbox.Done, raw)
	if p := w.parked(); !strings.Contains(p.Cause, "index out of luck") || !strings.Contains(p.Cause, "inbox_test.go") {
		t.Errorf("cause %q names neither the panic nor its place", p.Cause)
	}
}

func TestACauseThatMendsItselfIsNotParked(t *testing.T) {
	var calls atomic.Int32
	w := newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		if calls.Add(1) < 3 {
			return errPoison
		}
		return note(ctx, tx, batch)
	})
	id, raw := event(t)
	w.deliver(inbox.Done, raw)
	w.wantEffects(id)
	if n := w.count("parked"); n != 0 {
		t.Errorf("%d parked", n)
	}
}

// What is the database's fault and passes is delivered again, never parked.
func TestTransientFailuresAreDeliveredAgain(t *testing.T) {
	for name, spoil := range map[string]func(context.Context, *world, *outbox.Tx) error{
		"backend killed": func(ctx context.Context, w *world, tx *outbox.Tx) error {
			rows, err := tx.Query(ctx, `select pg_backend_pid()`)
			if err != nil {
				return err
			}
			pid, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
			if err != nil {
				return err
			}
			w.exec(`select pg_terminate_backend($1, 5000)`, pid)
			_, err = tx.Exec(ctx, `select 1`)
			return err
		},
		"lock timeout": func(ctx context.Context, w *world, tx *outbox.Tx) error {
			other, err := w.pool.Begin(ctx)
			if err != nil {
				return err
			}
			defer other.Rollback(ctx)
			if _, err := other.Exec(ctx, `lock table effect`); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `set local lock_timeout = '10ms'`); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `lock table effect`)
			return err
		},
		"deadline": func(context.Context, *world, *outbox.Tx) error { return context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			broken := true
			w = newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
				if broken {
					return spoil(ctx, w, tx)
				}
				return note(ctx, tx, batch)
			})
			one, a := event(t)
			two, b := event(t)
			w.deliver(inbox.Again, a, b)
			if n := w.count("parked") + w.count("inbox") + w.count("effect"); n != 0 {
				t.Errorf("%d rows were written", n)
			}
			broken = false
			w.deliver(inbox.Done, a, b)
			w.wantEffects(one, two)
		})
	}
}

// The effect, the inbox row and the events caused commit together or not at all.
func TestEffectInboxAndOutboxAreOne(t *testing.T) {
	crash := errors.New("died before the commit")
	w := newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		if err := note(ctx, tx, batch); err != nil {
			return err
		}
		if err := confirm(tx, batch[0]); err != nil {
			return err
		}
		if crash != nil {
			return crash
		}
		return nil
	})
	id, raw := event(t)
	w.deliver(inbox.Done, raw) // parked
	if n := w.count("effect") + w.count("inbox") + w.count("outbox"); n != 0 {
		t.Errorf("%d rows of a transaction that was rolled back", n)
	}
	crash = nil
	w.deliver(inbox.Done, raw)
	w.wantEffects(id)
	if n := len(w.published(1)); n != 1 {
		t.Errorf("%d events published, want one", n)
	}
}

func TestDeliveryCarriesTheEventAndItsTrace(t *testing.T) {
	got := make(chan inbox.Delivery, 1)
	w := newWorld(t, func(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		got <- batch[0]
		return confirm(tx, batch[0])
	})
	id, raw := event(t)
	w.deliver(inbox.Done, raw)
	d := <-got
	if _, ok := d.Event.(*payment.Completed); !ok || d.ID != id || time.Since(d.Time) > time.Minute {
		t.Errorf("delivery %+v", d)
	}
	if d.Trace != trace { // which is not recorded, so there is no span of its own
		t.Errorf("trace %q, want that of the event, %s", d.Trace, trace)
	}
	if env := w.published(1)[0]; env.TraceParent != d.Trace {
		t.Errorf("the event it caused has trace %q, want %q", env.TraceParent, d.Trace)
	}
}

// A trace context that is none, of whatever bytes, is in the way neither of its event nor of
// those that this causes.
func TestAnEventWithATraceThatIsNoneIsHandled(t *testing.T) {
	for name, bad := range map[string]string{
		"that seems recorded":   strings.Repeat("\u00e9", 26) + "-01",
		"that seems unrecorded": `\"` + strings.Repeat("0", 51) + "-00",
	} {
		t.Run(name, func(t *testing.T) {
			handler := func(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error { return confirm(tx, batch[0]) }
			w := newWorld(t, handler)
			w.inbox = inbox.New(inbox.Config{
				Consumer: consumer, Pool: w.pool, Outbox: w.outbox, Handler: handler, Log: slog.New(slog.DiscardHandler),
				Timings: inbox.NewTimings(telemetry.NewMetrics(consumer)),
			})
			run(t, w.inbox)
			_, raw := event(t)
			w.deliver(inbox.Done, []byte(strings.Replace(string(raw), trace, bad, 1)))
			if env := w.published(1)[0]; env.Type != order.TypeConfirmed {
				t.Errorf("it causes %+v", env)
			}
		})
	}
}

func TestTheEndFinishesWhatWasTakenIn(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, note)
	in := inbox.New(inbox.Config{
		Consumer: consumer, Pool: w.pool, Outbox: w.outbox,
		Handler: func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			close(entered)
			<-release
			return note(ctx, tx, batch)
		},
	})
	stop := run(t, in)
	id, raw := event(t)
	handled := make(chan error)
	go func() { handled <- in.Handle(context.Background(), messages(raw)) }()
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(release)
	if err := <-handled; err != nil {
		t.Errorf("Handle: %v", err)
	}
	<-stopped
	w.wantEffects(id)
	if err := in.Handle(t.Context(), messages(raw)); !errors.Is(err, group.ErrClosed) {
		t.Errorf("Handle after the end = %v, want ErrClosed", err)
	}
}
