package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestWhatIsCommittedIsPublishedAndRemoved(t *testing.T) {
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	cfg.Lease = time.Hour // one call takes it
	o := outbox.New(cfg)
	start(t, o)
	e := charged()
	var now time.Time
	err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		now = tx.Now
		return tx.Emit(trace, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is published", func() bool { return b.taken() == 1 })
	eventually(t, "its row is removed", empty(t, pool))

	m := b.calls[0][0]
	env, back, err := events.Decode(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != env.ID || m.Topic != e.Type() || m.Key != events.OrderOf(e).String() {
		t.Errorf("message %s %s %s does not fit its payload %+v", m.ID, m.Topic, m.Key, env)
	}
	if env.TraceParent != trace || env.Source != "payment" || !env.Time.Equal(now) {
		t.Errorf("envelope %+v has not the trace, source and time of its transaction", env)
	}
	if events.OrderOf(back) != events.OrderOf(e) {
		t.Errorf("payload %+v, want %+v", back, e)
	}
}

func TestWhatIsRolledBackIsNeverPublished(t *testing.T) {
	pool, b := openPool(t), newBroker()
	o := outbox.New(config(pool, b))
	stop := start(t, o)
	if err := change(o, 5, errors.New("changed my mind")); err == nil {
		t.Fatal("InTx = nil, want the error")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.InTx(cancelled, func(context.Context, *outbox.Tx) error { return nil }); err == nil {
		t.Fatal("InTx = nil with a cancelled context")
	}
	if err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		return tx.Emit("", payment.Completed{})
	}); err == nil {
		t.Fatal("InTx = nil with an invalid event")
	}
	stop()
	if n := b.called() + count(t, pool, "outbox") + count(t, pool, "ledger"); n != 0 {
		t.Errorf("%d traces of changes that were rolled back", n)
	}
}

// Only the attempt that commits counts.
func TestARepeatedTransactionPublishesOnce(t *testing.T) {
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	cfg.Lease, cfg.Drain = time.Hour, time.Hour
	o := outbox.New(cfg)
	stop := start(t, o)
	attempts, after := 0, 0
	err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		tx.AfterCommit(func() { after++ })
		if err := tx.Emit("", charged()); err != nil {
			return err
		}
		if attempts++; attempts < 3 {
			return pgtx.ErrStale
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if attempts != 3 || after != 1 || b.taken() != 1 {
		t.Errorf("%d attempts, %d calls after the commit, %d events", attempts, after, b.taken())
	}
}

func TestAfterCommitIsNotCalledWithoutCommit(t *testing.T) {
	o := outbox.New(config(openPool(t), newBroker()))
	_ = o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		tx.AfterCommit(func() { t.Error("called though the transaction was rolled back") })
		return errors.New("no")
	})
}

func TestWhatTheBrokerRefusesIsPublishedLaterUnderTheSameID(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(context.Context, []outbox.Message) ([]uuid.UUID, error)
		first  int // events of ten that get through at first
	}{
		{"all of it", away, 0},
		{"some of it", func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
			return []uuid.UUID{batch[0].ID, batch[1].ID}, errAway
		}, 8},
		{"some of it, without an error", func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
			return []uuid.UUID{batch[0].ID}, nil
		}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, b := openPool(t), newBroker()
			b.is(func(ctx context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
				b.is(nil)
				return c.answer(ctx, batch)
			})
			o := outbox.New(config(pool, b))
			commit(t, o, 10)
			stop := start(t, o)
			eventually(t, "all are published", func() bool { return b.distinct() == 10 })
			eventually(t, "all rows are removed", empty(t, pool))
			stop()
			if n := len(b.calls[0]); n != 10 {
				t.Fatalf("first call with %d events, want 10", n)
			}
			for _, m := range b.calls[0] {
				if b.times[m.ID] == 0 {
					t.Errorf("event %s came back under another id", m.ID)
				}
			}
			if s := o.Stats(); s.Failed != int64(10-c.first) || s.Recovered < s.Failed {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// A process that dies after its commit leaves rows that the next one publishes.
func TestDeathBetweenCommitAndPublish(t *testing.T) {
	pool, b := openPool(t), newBroker()
	commit(t, outbox.New(config(pool, b)), 20) // its Run never comes
	if b.called() != 0 {
		t.Fatal("published by whom?")
	}
	start(t, outbox.New(config(pool, b)))
	eventually(t, "the next process publishes them", func() bool { return b.distinct() == 20 })
	eventually(t, "and removes them", empty(t, pool))
}

func TestTheEndDrainsWhatIsCommitted(t *testing.T) {
	pool, b := openPool(t), newBroker()
	entered, release := make(chan struct{}), make(chan struct{})
	b.is(func(context.Context, []outbox.Message) ([]uuid.UUID, error) {
		b.is(nil)
		close(entered)
		<-release
		return nil, nil
	})
	cfg := config(pool, b)
	cfg.Lease, cfg.Drain = time.Hour, time.Hour // nothing can be recovered
	o := outbox.New(cfg)
	stop := start(t, o)
	commit(t, o, 1)
	<-entered
	commit(t, o, 500) // more than one call takes
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(release)
	<-stopped
	if b.distinct() != 501 || count(t, pool, "outbox") != 0 {
		t.Errorf("%d published, %d rows left, want 501 and none", b.distinct(), count(t, pool, "outbox"))
	}
	commit(t, o, 3) // too late for this process
	if n := count(t, pool, "outbox"); n != 3 {
		t.Errorf("%d rows for the next process, want 3", n)
	}
}

func TestTheEndDoesNotWaitForABrokerThatHangs(t *testing.T) {
	pool, b := openPool(t), newBroker()
	b.is(hang)
	cfg := config(pool, b)
	cfg.Drain, cfg.PublishTimeout = 50*time.Millisecond, time.Hour
	o := outbox.New(cfg)
	stop := start(t, o)
	commit(t, o, 500)
	eventually(t, "a call is under way", func() bool { return b.called() > 0 })
	began := time.Now()
	stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the end took %v, want about 50ms", took)
	}
	if n := count(t, pool, "outbox"); n != 500 {
		t.Errorf("%d rows left, want 500", n)
	}
}

// While the broker is away memory holds MaxQueued messages at most; the rest
// waits in the table, and all of it is published in the end.
func TestALongOutageNeedsNoMemory(t *testing.T) {
	pool, b := openPool(t), newBroker()
	timeout := make(chan struct{})
	b.is(func(ctx context.Context, _ []outbox.Message) ([]uuid.UUID, error) {
		select {
		case <-timeout:
		case <-ctx.Done():
		}
		return nil, errAway
	})
	cfg := config(pool, b)
	cfg.MaxQueued = 50
	o := outbox.New(cfg)
	start(t, o)
	for range 50 {
		commit(t, o, 20)
		if s := o.Stats(); s.Queued > 50 {
			t.Fatalf("%d messages in memory, want 50 at most", s.Queued)
		}
	}
	if s := o.Stats(); s.Published != 0 || s.Deferred == 0 {
		t.Errorf("stats during the outage: %+v", s)
	}
	close(timeout)
	eventually(t, "it is refused", func() bool { return o.Stats().Failed > 0 })
	b.is(nil)
	eventually(t, "all are published", func() bool { return b.distinct() == 1_000 })
	eventually(t, "all rows are removed", empty(t, pool))
}

// commitLarge commits n events of about 80 kB, in one transaction.
func commitLarge(t *testing.T, o *outbox.Outbox, n int) {
	t.Helper()
	large := checkout.OrderCreated{CustomerID: "c", PaymentToken: "t"}
	for i := range events.MaxLines {
		large.Lines = append(large.Lines, events.Line{SKU: "sku-" + strconv.Itoa(i) + string(bytes.Repeat([]byte("x"), 60)), Quantity: 1})
	}
	large.Total.Currency = "GBP"
	err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		for range n {
			large.OrderID = uuid.Must(uuid.NewV7())
			if err := tx.Emit("", large); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// However large the messages, memory holds so many bytes of them at most.
func TestALongOutageOfLargeMessagesNeedsNoMemory(t *testing.T) {
	const most, events = 32 << 20, 700
	pool, b := openPool(t), newBroker()
	b.is(hang)
	cfg := config(pool, b)
	cfg.Lease = time.Second
	o := outbox.New(cfg)
	start(t, o)
	for range events / 100 {
		commitLarge(t, o, 100)
	}
	var size int64
	if err := pool.QueryRow(t.Context(), `select avg(octet_length(payload))::bigint from outbox`).Scan(&size); err != nil {
		t.Fatal(err)
	}
	if held := o.Stats().Queued * size; held > most+size {
		t.Errorf("%d bytes in memory, want %d at most", held, most)
	}
	b.is(nil)
	eventually(t, "all are published", func() bool { return b.distinct() == events })
	eventually(t, "all rows are removed", empty(t, pool))
}

func TestOneCallStaysBelowWhatTheSidecarTakes(t *testing.T) {
	pool, b := openPool(t), newBroker()
	o := outbox.New(config(pool, b))
	commitLarge(t, o, 60)
	stop := start(t, o)
	eventually(t, "all are published", func() bool { return b.distinct() == 60 })
	stop()
	for _, call := range b.calls {
		size := 0
		for _, m := range call {
			size += len(m.Payload)
		}
		if size > 3<<20 {
			t.Errorf("a call of %d events and %d bytes, want 3 MiB at most", len(call), size)
		}
	}
}

// Events of one topic are published one batch after the other, in the order of
// their commits.
func TestATopicKeepsItsOrder(t *testing.T) {
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	cfg.Lease, cfg.Drain = time.Hour, time.Hour
	o := outbox.New(cfg)
	stop := start(t, o)
	for range 200 {
		commit(t, o, 3)
	}
	stop()
	if len(b.order) != 600 || !slices.IsSortedFunc(b.order, func(x, y uuid.UUID) int { return bytes.Compare(x[:], y[:]) }) {
		t.Errorf("%d events out of order, want 600 in order", len(b.order))
	}
}

// A type that a service does not declare has no topic, and no right to one. The error
// does not blame the event that led to it.
func TestUndeclaredTypesAreNotEmitted(t *testing.T) {
	pool := openPool(t)
	o := outbox.New(config(pool, newBroker()))
	err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		return tx.Emit("", payment.Refunded{OfOrder: events.OfOrder{OrderID: uuid.New()}, RefundID: "re_1", Amount: events.Money{Amount: 1, Currency: "GBP"}})
	})
	if err == nil || !strings.Contains(err.Error(), "payment emits payment.refunded, which is not among Emits") || !pgtx.Defect(err) {
		t.Errorf("emitting an undeclared type: %v", err)
	}
	if !empty(t, pool)() {
		t.Error("it is in the table")
	}
}

// What nobody can hear is not kept, and is checked all the same.
func TestUnheardTypesAreNotKept(t *testing.T) {
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	cfg.Emits = append(cfg.Emits, payment.TypeFailed)
	cfg.Heard = func(eventType string) bool { return eventType != payment.TypeCompleted }
	o := outbox.New(cfg)
	order := events.OfOrder{OrderID: uuid.New()}
	unheard := payment.Completed{OfOrder: order, ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"}}
	heard := payment.Failed{OfOrder: order, Reason: events.Reason{Code: "c", Message: "m"}}
	err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error {
		return errors.Join(tx.Emit("", unheard), tx.Emit("", heard))
	})
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	if err := pool.QueryRow(t.Context(), `select array_agg(topic) from outbox`).Scan(&topics); err != nil || !slices.Equal(topics, []string{payment.TypeFailed}) {
		t.Errorf("the table has %v, %v", topics, err)
	}
	unheard.ChargeID = ""
	if err := o.InTx(t.Context(), func(_ context.Context, tx *outbox.Tx) error { return tx.Emit("", unheard) }); err == nil {
		t.Error("an event that breaks its contract was emitted")
	}
}
