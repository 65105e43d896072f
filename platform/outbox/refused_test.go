package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/outbox"
)

const missing = "payment.missing" // a topic that the broker does not have

var errRefused = errors.New("no such topic")

// leave puts rows into the outbox as a process that died left them.
func leave(t testing.TB, pool *pgxpool.Pool, topic string, rows, bytes int) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		insert into outbox (id, topic, key, payload, leased_until)
		select gen_random_uuid(), $1, i::text, convert_to(repeat('x', $3), 'utf8'), now() - interval '1 second'
		from generate_series(1, $2) i`, topic, rows, bytes)
	if err != nil {
		t.Fatal(err)
	}
}

// refuse is the answer of a broker that lacks the topic missing.
func refuse(err error) func(context.Context, []outbox.Message) ([]uuid.UUID, error) {
	return func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
		if batch[0].Topic == missing {
			return nil, err
		}
		return nil, nil
	}
}

func left(t testing.TB, pool *pgxpool.Pool, topic string) (n int) {
	t.Helper()
	if err := pool.QueryRow(context.Background(), `select count(*) from outbox where topic = $1`, topic).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Rows of a topic that the broker refuses lie before all others.
func TestARefusedTopicDelaysNoOther(t *testing.T) {
	for _, rows := range []int{3_000, 50_000} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			if rows > 10_000 && testing.Short() {
				t.Skip("short")
			}
			pool, b := openPool(t), newBroker()
			b.is(refuse(errRefused))
			for done := 0; done < rows; done += min(rows, 50_000) { // as many as a statement has time for
				leave(t, pool, missing, min(rows, 50_000), 200)
			}
			leave(t, pool, "payment.completed", 500, 200)
			cfg := config(pool, b)
			cfg.Lease, cfg.Poll = 0, 0 // as in a service
			o := outbox.New(cfg)
			start(t, o)
			eventually(t, "what lies behind the refused rows is published", func() bool { return b.distinct() == 500 })
			eventually(t, "and removed", func() bool { return left(t, pool, "payment.completed") == 0 })
			leave(t, pool, "payment.refunded", 500, 200)
			eventually(t, "what is left behind later is published", func() bool { return b.distinct() == 1_000 })
			if n := left(t, pool, missing); n != rows {
				t.Errorf("%d rows of the refused topic left, want %d", n, rows)
			}
		})
	}
}

// Once the broker has the topic, its rows are published soon.
func TestARefusedTopicIsPublishedOnceItIsTaken(t *testing.T) {
	pool, b := openPool(t), newBroker()
	b.is(refuse(errRefused))
	leave(t, pool, missing, 3_000, 200)
	o := outbox.New(config(pool, b))
	start(t, o)
	eventually(t, "it is refused", func() bool { return o.Stats().Failed > 3 })
	b.is(nil)
	eventually(t, "all are published", func() bool { return b.distinct() == 3_000 })
	eventually(t, "all rows are removed", empty(t, pool))
}

// One event that the broker never takes stops neither its batch nor its topic.
func TestARefusedEventStopsNeitherItsBatchNorItsTopic(t *testing.T) {
	for _, bad := range []int{1, 5, 300} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			pool, b := openPool(t), newBroker()
			var tries atomic.Int64
			// As daprd answers: it does not say which ones it did not publish.
			b.is(func(_ context.Context, batch []outbox.Message) ([]uuid.UUID, error) {
				for _, m := range batch {
					if len(m.Payload) > 1_000 {
						tries.Add(1)
						return nil, errRefused
					}
				}
				return nil, nil
			})
			for range 5 {
				leave(t, pool, "payment.completed", 100, 200)
				leave(t, pool, "payment.completed", bad/5, 2_000)
			}
			leave(t, pool, "payment.completed", bad%5, 2_000)
			cfg := config(pool, b)
			o := outbox.New(cfg)
			start(t, o)
			eventually(t, "the others are published", func() bool { return b.distinct() == 500 })
			for range 10 {
				commit(t, o, 10)
			}
			eventually(t, "what comes later is published", func() bool { return b.distinct() == 600 })
			eventually(t, "only the refused rows are left", func() bool { return count(t, pool, "outbox") == bad })
			t.Logf("%d refused calls", tries.Load())
		})
	}
}
