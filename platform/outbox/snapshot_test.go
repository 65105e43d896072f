package outbox

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
)

// taker is a broker that takes everything.
type taker struct {
	mu    sync.Mutex
	taken map[uuid.UUID]bool
}

func (b *taker) Publish(_ context.Context, _ string, batch []Message) ([]uuid.UUID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range batch {
		b.taken[m.ID] = true
	}
	return nil, nil
}

// A dump or a report keeps its snapshot for hours, and no row that is deleted
// meanwhile can be cleaned away.
func TestALongSnapshotDoesNotSlowRecovery(t *testing.T) {
	const dead = 200_000
	pool := pgtest.Open(t, pgtest.None)
	dump := begin(t, pool)
	if _, err := dump.Exec(t.Context(), `set transaction isolation level repeatable read; select 1 from outbox`); err != nil {
		t.Fatal(err)
	}
	explained, plans := pgtest.Explain(t, pool, pgtest.Generic)
	b := &taker{taken: make(map[uuid.UUID]bool)}
	o := New(Config{Source: "payment", Pool: explained, Publisher: b, Log: slog.New(slog.DiscardHandler), Lease: 5 * time.Second})
	r := &recovery{Outbox: o}
	for range 4 {
		execute(t, pool, `
			insert into outbox (id, topic, key, payload, leased_until)
			select gen_random_uuid(), 'payment.completed', 'k', convert_to(repeat('x', 460), 'utf8'), now() + interval '5 seconds'
			from generate_series(1, `+strconv.Itoa(dead/4)+`)`)
		execute(t, pool, `delete from outbox`)
	}
	poll := func() int {
		t.Helper()
		plans.Pages()
		if _, err := r.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		return plans.Pages()
	}
	lookFrom(t, pool, 1<<62) // no other test's transaction is older than the dead rows
	first := poll()
	again := poll()
	tx := begin(t, pool)
	add(t, tx, "late", expired)
	commit(t, tx)
	held := poll()
	for len(o.queue.held) == 0 { // the oldest transaction may be another test's
		held = poll()
	}
	t.Logf("pages read by the first poll %d, the next %d, one that finds a row %d", first, again, held)
	if again > 200 || held > 400 {
		t.Errorf("%d and %d pages read behind %d dead rows, want few", again, held, dead)
	}
	removing := func() int {
		plans.Pages()
		if err := remove(t.Context(), explained, []row{{1, uuid.New()}, {1 << 40, uuid.New()}}); err != nil {
			t.Fatal(err)
		}
		return plans.Pages()
	}
	if n := removing(); n > 100 {
		t.Errorf("%d pages read to remove two rows", n)
	}
}
