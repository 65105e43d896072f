package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/telemetry"
)

func TestMain(m *testing.M) {
	stop, err := telemetry.StartTracing(context.Background(), telemetry.TraceConfig{Service: "test"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = stop(context.Background())
		os.Exit(code)
	}))
}

const (
	consumer = "order"
	topic    = payment.TypeCompleted
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	trace    = "00-" + traceID + "-00f067aa0ba902b7-00"
)

// The table of effects has no unique key, so that one that happens twice shows.
var effects = fstest.MapFS{"migrations/00001_effect.sql": {Data: []byte(
	"-- +goose Up\ncreate table effect (event_id uuid not null);\ncreate table one_effect (one int primary key);\n")}}

// world is one service: its database, its replicas of the inbox, and a broker.
type world struct {
	*testing.T
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	inbox  *inbox.Inbox
	broker *broker
}

func newWorld(t *testing.T, handler inbox.Handler) *world {
	t.Helper()
	w := &world{T: t, pool: pgtest.Open(t, effects), broker: new(broker)}
	w.outbox = outbox.New(outbox.Config{Source: consumer, Emits: []string{order.TypeConfirmed}, Pool: w.pool, Publisher: w.broker, Log: slog.New(slog.DiscardHandler)})
	run(t, w.outbox)
	w.inbox = w.replica(handler)
	return w
}

func (w *world) replica(handler inbox.Handler) *inbox.Inbox {
	w.Helper()
	in := inbox.New(inbox.Config{
		Consumer: consumer, Pool: w.pool, Outbox: w.outbox, Handler: handler, Log: slog.New(slog.DiscardHandler),
	})
	run(w.T, in)
	return in
}

func run(t testing.TB, part interface{ Run(context.Context) error }) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := part.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// note has the effect of these tests: a row for each event.
func note(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	ids := make([]uuid.UUID, len(batch))
	for i, d := range batch {
		ids[i] = d.ID
	}
	_, err := tx.Exec(ctx, `insert into effect select unnest($1::uuid[])`, ids)
	return err
}

// confirm emits what a delivery causes.
func confirm(tx *outbox.Tx, d inbox.Delivery) error {
	return tx.Emit(d.Trace, order.Confirmed{
		OfOrder: events.OfOrder{OrderID: events.OrderOf(d.Event)}, CustomerID: "c", Total: events.Money{Currency: "GBP"},
	})
}

// failing has no effect on the given events but the error.
func failing(bad map[uuid.UUID]error) inbox.Handler {
	return func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		if err := note(ctx, tx, batch); err != nil {
			return err
		}
		for _, d := range batch {
			if err := bad[d.ID]; err != nil {
				return err
			}
		}
		return nil
	}
}

var errPoison = errors.New("stock of a SKU that never was")

func event(t testing.TB) (uuid.UUID, []byte) {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	raw, err := events.Encode(id, "payment", time.Now(), trace, payment.Completed{
		OfOrder:  events.OfOrder{OrderID: uuid.Must(uuid.NewV7())},
		ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, raw
}

func messages(payloads ...[]byte) []*inbox.Message {
	batch := make([]*inbox.Message, len(payloads))
	for i, p := range payloads {
		batch[i] = &inbox.Message{Topic: topic, Payload: p}
	}
	return batch
}

// deliver wants all payloads to be answered with the verdict. What is to be done may be put
// off, where the server is slow, and comes again.
func (w *world) deliver(want inbox.Verdict, payloads ...[]byte) {
	w.Helper()
	if want == inbox.Done {
		if left := w.handle(payloads, 0); len(left) > 0 {
			w.Errorf("%d of %d messages are not done", len(left), len(payloads))
		}
		return
	}
	batch := messages(payloads...)
	if err := w.inbox.Handle(context.Background(), batch); err != nil {
		w.Fatalf("Handle: %v", err)
	}
	for i, m := range batch {
		if m.Verdict != want {
			w.Errorf("verdict on message %d is %v, want %v", i, m.Verdict, want)
		}
	}
}

// wantEffects wants each event to have had its effect just once, and no other.
func (w *world) wantEffects(ids ...uuid.UUID) {
	w.Helper()
	rows, err := w.pool.Query(context.Background(), `select event_id from effect`)
	if err != nil {
		w.Fatal(err)
	}
	defer rows.Close()
	times := make(map[uuid.UUID]int)
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			w.Fatal(err)
		}
		times[id]++
	}
	for _, id := range ids {
		if times[id] != 1 {
			w.Errorf("event %s had its effect %d times, want once", id, times[id])
		}
		delete(times, id)
	}
	if len(times) > 0 {
		w.Errorf("%d other events had effects", len(times))
	}
}

func (w *world) count(table string) (n int) {
	w.Helper()
	if err := w.pool.QueryRow(context.Background(), `select count(*) from `+table).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

// exec does what the service may not.
func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := pgtest.Admin(w, w.pool).Exec(context.Background(), sql, args...); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

// listed returns the first parked events.
func (w *world) listed() []inbox.Parked {
	w.Helper()
	list, _, err := w.inbox.ListParked(context.Background(), inbox.Cursor{}, 10)
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// parked returns the only parked event.
func (w *world) parked() inbox.Parked {
	w.Helper()
	list := w.listed()
	if len(list) != 1 {
		w.Fatalf("%d events are parked, want one", len(list))
	}
	return list[0]
}

// broker stands for the message broker: it takes everything.
type broker struct {
	mu  sync.Mutex
	got []events.Envelope
}

func (b *broker) Publish(_ context.Context, _ string, batch []outbox.Message) ([]uuid.UUID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range batch {
		env, _, err := events.Decode(m.Payload)
		if err != nil {
			return nil, err
		}
		b.got = append(b.got, env)
	}
	return nil, nil
}

// published waits for n events and returns them.
func (w *world) published(n int) []events.Envelope {
	w.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		w.broker.mu.Lock()
		got := slices.Clone(w.broker.got)
		w.broker.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("%d events published within a minute, want %d", len(got), n)
		}
	}
}
