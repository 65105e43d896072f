package outbox

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

// lookFrom looks from there until the oldest running transaction, which may be
// another test's, is one that began after it was called.
func lookFrom(t *testing.T, pool *pgxpool.Pool, from int64) span {
	t.Helper()
	var next int64
	if err := pool.QueryRow(t.Context(), `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&next); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		s, err := look(ctx, pool, from, everything)
		if err != nil {
			t.Fatal(err)
		}
		if s.horizon >= next {
			return s
		}
	}
}

func addAs(t *testing.T, pool *pgxpool.Pool, topic string, lease time.Duration) (xid int64) {
	t.Helper()
	tx := begin(t, pool)
	add(t, tx, topic, lease)
	commit(t, tx)
	if err := pool.QueryRow(t.Context(), `select xid from outbox where topic = $1`, topic).Scan(&xid); err != nil {
		t.Fatal(err)
	}
	return xid
}

func TestLookStopsAtWhateverMayStillBeUnpublished(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	if s := lookFrom(t, pool, 0); s.from != s.horizon || s.id.Valid {
		t.Errorf("in an empty table: %+v, want nothing below the horizon", s)
	}
	leased := addAs(t, pool, "leased", time.Minute)
	free := addAs(t, pool, "free", expired)
	if s := lookFrom(t, pool, 0); s.from != leased {
		t.Errorf("from %d, want %d: the process that leased it may die", s.from, leased)
	}
	execute(t, pool, `delete from outbox where topic = 'leased'`)
	if s := lookFrom(t, pool, leased); s.from != free {
		t.Errorf("from %d, want %d", s.from, free)
	}
	execute(t, pool, `update outbox set refused = 1`)
	if s := lookFrom(t, pool, free); s.from != s.horizon {
		t.Errorf("from %d, want %d: what is set aside is found otherwise", s.from, s.horizon)
	}
}

// A transaction that began earlier commits later, below rows that were taken long
// since.
func TestLookDoesNotPassARunningTransaction(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	slow := begin(t, pool)
	add(t, slow, "slow", expired)
	addAs(t, pool, "fast", expired)
	execute(t, pool, `delete from outbox`)
	s, err := look(t.Context(), pool, 0, everything)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if s, err = look(t.Context(), pool, s.from, everything); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, slow)
	if s := lookFrom(t, pool, s.from); !s.id.Valid {
		t.Errorf("%+v passed a row", s)
	}
}

func TestLookBeginsAgainInAnotherCluster(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	xid := addAs(t, pool, "row", expired)
	s, err := look(t.Context(), pool, 1<<62, everything)
	if err != nil {
		t.Fatal(err)
	}
	if s = lookFrom(t, pool, s.from); s.from != xid {
		t.Errorf("from %d, want %d", s.from, xid)
	}
}

// A server that was started again after a crash, or that took over, may use transaction ids
// once more, and have more of them before the next look.
func TestLookBeginsAgainOnAnotherServer(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	xid := addAs(t, pool, "row", expired)
	from := addAs(t, pool, "gone", expired)
	execute(t, pool, `delete from outbox where topic = 'gone'`)
	s := lookFrom(t, pool, from)
	r := &recovery{Outbox: New(Config{Pool: pool}), span: s}
	looks := func() int64 {
		t.Helper()
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.span.from
	}
	if got := looks(); got < from {
		t.Errorf("on the same server it looks from %d, want at least %d", got, from)
	}
	r.span.server = r.span.server.Add(-time.Hour)
	looks()
	if got := looks(); got != xid {
		t.Errorf("on another server it looks from %d, want %d", got, xid)
	}
}

// What a claim brings is bounded in bytes as well, but is at least one row.
func TestClaimBringsNoMoreBytesThanThereIsRoomFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int // room
		sizes []int
		want  int
	}{
		{"all", 1_000, []int{100, 100, 100}, 3},
		{"as far as it begins within", 250, []int{100, 100, 100, 100}, 3},
		{"to the byte", 200, []int{100, 100, 100}, 2},
		{"one that is larger than all room", 10, []int{5_000_000, 1}, 1},
		{"a small one before it", 10, []int{5, 5_000_000, 1}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := pgtest.Open(t, pgtest.None)
			for i, size := range c.sizes {
				if _, err := pool.Exec(t.Context(), `
					insert into outbox (xid, id, topic, key, payload, leased_until, refused)
					values ($1, $2, 't', 'k', convert_to(repeat('x', $3), 'utf8'), now() - interval '1 s', 0)`,
					i+1, uuid.New(), size); err != nil {
					t.Fatal(err)
				}
			}
			s, err := look(t.Context(), pool, 0, everything)
			if err != nil {
				t.Fatal(err)
			}
			batch, err := claim(t.Context(), pool, -time.Second, s, demand{100, c.bytes}, []string{})
			if err != nil || len(batch) != c.want {
				t.Errorf("claimed %d, %v, want %d", len(batch), err, c.want)
			}
			execute(t, pool, `update outbox set refused = 1`)
			batch, err = claimAside(t.Context(), pool, time.Minute, []string{"t"}, []int32{100}, c.bytes)
			if err != nil || len(batch) != c.want {
				t.Errorf("claimed %d of those set aside, %v, want %d", len(batch), err, c.want)
			}
		})
	}
}

func TestClaimLeavesOutTopics(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	addAs(t, pool, "bad", expired)
	addAs(t, pool, "good", expired)
	addAs(t, pool, "bad too", expired)
	s := lookFrom(t, pool, 0)
	batch, err := claim(t.Context(), pool, time.Minute, s, demand{100, 100}, []string{"bad", "bad too"})
	if err != nil || len(batch) != 1 || batch[0].Topic != "good" {
		t.Errorf("claimed %+v, %v, want the good one", batch, err)
	}
	moved, rows, err := setAside(t.Context(), pool, s, []string{"bad", "good"}, 100)
	if err != nil || rows != 1 || len(moved) != 1 || moved[0] != "bad" {
		t.Errorf("set aside %d rows of %v, %v, want the one that is free", rows, moved, err)
	}
	batch, err = claimAside(t.Context(), pool, time.Minute, []string{"bad", "good"}, []int32{9, 9}, 100)
	if err != nil || len(batch) != 1 || batch[0].refused != 1 {
		t.Errorf("claimed %+v, %v, want the one set aside", batch, err)
	}
}

// Each refusal doubles the time, half as much more or less, up to five minutes.
func TestARefusedRowIsTriedMoreAndMoreRarely(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	xid := addAs(t, pool, "t", expired)
	var id uuid.UUID
	if err := pool.QueryRow(t.Context(), `select id from outbox`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		began := time.Now()
		if err := refuse(t.Context(), pool, 5*time.Second, []row{{xid, id}}); err != nil {
			t.Fatal(err)
		}
		var refused int
		var wait float64
		err := pool.QueryRow(t.Context(), `select refused, extract(epoch from leased_until - now())::float8 from outbox`).Scan(&refused, &wait)
		if err != nil {
			t.Fatal(err)
		}
		if refused != i+2 || wait < float64(want)/2-time.Since(began).Seconds() || wait > float64(want)*1.5 {
			t.Errorf("refusal %d: %d, again in %.1f s, want about %d s", i+1, refused, wait, want)
		}
	}
}

func TestMeasure(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	r := &recovery{Outbox: New(Config{Pool: pool})}
	if err := r.sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := r.Backlog(); b.Depth != 0 || b.Age() != 0 {
		t.Errorf("of an empty table: %+v", b)
	}
	addAs(t, pool, "good", expired)
	addAs(t, pool, "bad", expired)
	execute(t, pool, `update outbox set refused = 1 where topic = 'bad'`)
	execute(t, pool, `insert into outbox (id, topic, key, payload, leased_until, refused)
		values ('0190163d-8694-739b-aea5-966c26f8ad91', 'bad too', 'k', '', now(), 1), -- of June 2024
		       ('0190163d-8694-739b-aea5-966c26f8ad92', 'bad too', 'k', '', now(), 2)`)
	if err := r.sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := r.Backlog()
	if b.Depth != 4 || len(b.Refused) != 2 || b.Refused["bad"] != 1 || b.Refused["bad too"] != 2 || b.Oldest.UTC().Year() != 2024 {
		t.Errorf("%+v", b)
	}
	if n := len(r.queue.topics().aside); n != 2 {
		t.Errorf("%d topics have rows set aside, want 2", n)
	}
}

// noDepth has the count of the outbox fail, as it does behind a long snapshot, which
// keeps all dead rows.
type noDepth struct{}

func (noDepth) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	return unlessDepth(ctx, q.SQL)
}

func (noDepth) TraceBatchStart(ctx context.Context, _ *pgx.Conn, b pgx.TraceBatchStartData) context.Context {
	for _, q := range b.Batch.QueuedQueries {
		ctx = unlessDepth(ctx, q.SQL)
	}
	return ctx
}

func unlessDepth(ctx context.Context, sql string) context.Context {
	if sql != depthSQL {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func (noDepth) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}
func (noDepth) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (noDepth) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// What was set aside before a restart is only known from the measurement.
func TestWhatIsSetAsideIsFoundWhenTheOutboxCannotBeCounted(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	execute(t, pool, `
		insert into outbox (id, topic, key, payload, leased_until, refused)
		values (gen_random_uuid(), 'bad', 'k', '', now() - interval '1 second', 1)`)
	cfg := pool.Config()
	cfg.ConnConfig.Tracer = noDepth{}
	countless, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer countless.Close()
	o := New(Config{Source: "payment", Pool: countless, Log: slog.New(slog.DiscardHandler)})
	r := &recovery{Outbox: o}
	if err := r.sample(t.Context()); err == nil {
		t.Error("the outbox was counted")
	}
	if b := o.Backlog(); b.Refused["bad"] != 1 || b.Depth != 1 {
		t.Errorf("measured %+v, want one row set aside", b)
	}
	if _, err := r.once(t.Context()); err != nil || len(o.queue.held) != 1 {
		t.Errorf("held %v, %v, want the row that was set aside", o.queue.held, err)
	}
}
