package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = fmt.Errorf("%w: connection refused", outbox.ErrAway)

// broker stands for the message broker: it keeps what it takes, and takes what
// answer lets it.
type broker struct {
	mu     sync.Mutex
	answer func(ctx context.Context, batch []outbox.Message) ([]uuid.UUID, error)
	calls  [][]outbox.Message // all of them, taken or not
	order  []uuid.UUID        // taken, in order
	times  map[uuid.UUID]int  // taken how often
}

func newBroker() *broker { return &broker{times: make(map[uuid.UUID]int)} }

func away(context.Context, []outbox.Message) ([]uuid.UUID, error) { return nil, errAway }

// hang answers no call before its context ends.
func hang(ctx context.Context, _ []outbox.Message) ([]uuid.UUID, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (b *broker) is(answer func(context.Context, []outbox.Message) ([]uuid.UUID, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *broker) Publish(ctx context.Context, topic string, batch []outbox.Message) (failed []uuid.UUID, err error) {
	b.mu.Lock()
	b.calls = append(b.calls, batch)
	answer := b.answer
	b.mu.Unlock()
	if answer != nil {
		if failed, err = answer(ctx, batch); err != nil && failed == nil {
			return nil, err
		}
	}
	refused := make(map[uuid.UUID]bool)
	for _, id := range failed {
		refused[id] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range batch {
		if m.Topic != topic {
			panic("a batch of several topics")
		}
		if !refused[m.ID] {
			b.order = append(b.order, m.ID)
			b.times[m.ID]++
		}
	}
	return failed, err
}

// distinct returns how many events were taken.
func (b *broker) distinct() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

// taken returns how often events were taken, repetitions included.
func (b *broker) taken() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.order)
}

func (b *broker) called() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

// ledger is the business change that the events of these tests tell of: its rows
// and the published events must be the same.
var ledger = fstest.MapFS{"migrations/00001_ledger.sql": {Data: []byte(
	"-- +goose Up\ncreate table ledger (order_id uuid primary key);\n")}}

func openPool(t testing.TB) *pgxpool.Pool { return pgtest.Open(t, ledger) }

func config(pool *pgxpool.Pool, b *broker) outbox.Config {
	return outbox.Config{
		Source: "payment", Emits: []string{payment.TypeCompleted, checkout.TypeOrderCreated}, Pool: pool, Publisher: b, Log: slog.New(slog.DiscardHandler),
		Lease: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
}

// start runs o until stop is called, or the test ends.
func start(t testing.TB, o *outbox.Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := o.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

func charged() events.Event {
	return payment.Completed{
		OfOrder:  events.OfOrder{OrderID: uuid.Must(uuid.NewV7())},
		ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	}
}

// commit commits n changes, each with its event, in one transaction.
func commit(t testing.TB, o *outbox.Outbox, n int) {
	t.Helper()
	if err := change(o, n, nil); err != nil {
		t.Fatal(err)
	}
}

func change(o *outbox.Outbox, n int, result error) error {
	return o.InTx(context.Background(), func(ctx context.Context, tx *outbox.Tx) error {
		for range n {
			e := charged()
			if _, err := tx.Exec(ctx, `insert into ledger (order_id) values ($1)`, events.OrderOf(e)); err != nil {
				return err
			}
			if err := tx.Emit("", e); err != nil {
				return err
			}
		}
		return result
	})
}

func count(t testing.TB, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	if err := pool.QueryRow(context.Background(), `select count(*) from `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually polls for what must come true within a while.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func empty(t testing.TB, pool *pgxpool.Pool) func() bool {
	return func() bool { return count(t, pool, "outbox") == 0 }
}
