package outbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
)

const expired = -time.Second // a lease that has run out

func message(topic string) []Message {
	return []Message{{ID: uuid.Must(uuid.NewV7()), Topic: topic, Key: "k", Payload: []byte("{}")}}
}

func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func add(t *testing.T, tx pgx.Tx, topic string, lease time.Duration) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), insertSQL, insertArgs(message(topic), lease)...); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantClaim wants the rows of these topics to be claimed, in this order. It may
// take several claims: the oldest running transaction counts for the whole
// server, and other tests have theirs.
func wantClaim(t *testing.T, pool *pgxpool.Pool, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	topics := make([]string, 0, len(want))
	for {
		got, err := claimAll(ctx, pool, 100)
		if err != nil {
			t.Fatalf("claimed %v, want %v: %v", topics, want, err)
		}
		for _, m := range got {
			topics = append(topics, m.Topic)
		}
		if len(topics) >= len(want) {
			break
		}
	}
	if !slices.Equal(topics, want) {
		t.Errorf("claimed %v, want %v", topics, want)
	}
}

// claimAll claims rows as recovery does that finds nothing set aside.
func claimAll(ctx context.Context, pool *pgxpool.Pool, limit int) ([]Message, error) {
	d := demand{limit, 1 << 20}
	s, err := look(ctx, pool, 0, everything)
	if err != nil {
		return nil, err
	}
	batch, err := claim(ctx, pool, time.Minute, s, d, []string{})
	if err != nil {
		return nil, err
	}
	d.rows -= len(batch)
	stranded, err := claimStranded(ctx, pool, time.Minute, 0, everything, d, []string{})
	return append(batch, stranded...), err
}

// Transaction a is older, b commits first. As long as a is open, its row may
// still come, and one that takes b's then would recover them in the wrong order.
func TestClaimKeepsToTheOrderOfTransactions(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	a, b := begin(t, pool), begin(t, pool)
	add(t, a, "a", expired) // takes the lower xid
	add(t, b, "b", expired)
	commit(t, b)
	wantClaim(t, pool)
	commit(t, a)
	wantClaim(t, pool, "a", "b")
	wantClaim(t, pool) // leased now
}

func TestClaimGoesOnAfterARollback(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	a, b := begin(t, pool), begin(t, pool)
	add(t, a, "a", expired)
	add(t, b, "b", expired)
	commit(t, b)
	if err := a.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantClaim(t, pool, "b")
}

func TestClaimLeavesAloneWhatIsLeased(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	tx := begin(t, pool)
	add(t, tx, "mine", time.Minute)
	add(t, tx, "left behind", expired)
	commit(t, tx)
	wantClaim(t, pool, "left behind")
}

// A lease begins when the row is written, not when its transaction began: else a
// slow transaction's events would be published twice.
func TestLeaseBeginsWithTheRow(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	tx := begin(t, pool)
	var written, until time.Time
	if err := tx.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&written); err != nil {
		t.Fatal(err)
	}
	add(t, tx, "slow", time.Minute)
	if err := tx.QueryRow(t.Context(), `select leased_until from outbox`).Scan(&until); err != nil {
		t.Fatal(err)
	}
	if until.Before(written.Add(time.Minute)) {
		t.Errorf("leased for %v only", until.Sub(written))
	}
}

func TestClaimPassesRowsThatAnotherReplicaIsClaiming(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	for _, topic := range []string{"a", "b"} {
		tx := begin(t, pool)
		add(t, tx, topic, expired)
		commit(t, tx)
	}
	other := begin(t, pool)
	if _, err := other.Exec(t.Context(), `select from outbox where topic = 'a' for update`); err != nil {
		t.Fatal(err)
	}
	wantClaim(t, pool, "b")
}

// In a database restored into a younger cluster xids may lie in the future.
func TestClaimTakesRowsOfAnotherClusterInTheEnd(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	tx := begin(t, pool)
	add(t, tx, "restored", -9*time.Minute)
	if _, err := tx.Exec(t.Context(), `update outbox set xid = 1::bigint << 62`); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	wantClaim(t, pool)
	if _, err := pool.Exec(t.Context(), `update outbox set leased_until = now() - interval '11 minutes'`); err != nil {
		t.Fatal(err)
	}
	wantClaim(t, pool, "restored")
}

// With 100,000 rows waiting no statement may sort or read the whole table. Plans
// are kept: one made while the table was empty must do when it no longer is.
func TestPlans(t *testing.T) {
	for _, way := range []string{pgtest.Custom, pgtest.Generic} {
		t.Run(way, func(t *testing.T) {
			pool := pgtest.Open(t, pgtest.None)
			pgtest.Fill(t, pool, `alter table outbox set (autovacuum_enabled = off)`)
			explained, plans := pgtest.Explain(t, pool, way)
			claimAndRemove(t, explained, 0)
			execute(t, pool, waiting)
			claimAndRemove(t, explained, claimBatch)
			pgtest.Fill(t, pool)
			claimAndRemove(t, explained, claimBatch)
			setAsideAndClaim(t, explained)
			plans.Check(t, "outbox_pkey", "outbox_refused")
		})
	}
}

// waiting has xids long past.
const waiting = `
	insert into outbox (xid, id, topic, key, payload, leased_until)
	select i / 3, gen_random_uuid(), 'payment.completed', gen_random_uuid()::text,
	       convert_to(repeat('x', 460), 'utf8'), now() - interval '1 second'
	from generate_series(1, 100000) i`

func claimAndRemove(t *testing.T, pool *pgxpool.Pool, want int) {
	t.Helper()
	batch, err := claimAll(t.Context(), pool, claimBatch)
	if err != nil || len(batch) != want {
		t.Fatalf("claimed %d (%v), want %d", len(batch), err, want)
	}
	if err := remove(t.Context(), pool, rowsOf(batch)); err != nil {
		t.Fatal(err)
	}
}

// setAsideAndClaim runs what recovery does for a topic that is refused.
func setAsideAndClaim(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	topics := []string{"payment.completed"}
	s, err := look(t.Context(), pool, 0, everything)
	if err != nil {
		t.Fatal(err)
	}
	if _, n, err := setAside(t.Context(), pool, s, topics, asideBatch); err != nil || n != asideBatch {
		t.Fatalf("set %d aside (%v), want %d", n, err, asideBatch)
	}
	batch, err := claimAside(t.Context(), pool, time.Minute, topics, []int32{100}, 1<<20)
	if err != nil || len(batch) != 100 {
		t.Fatalf("claimed %d of those set aside (%v), want 100", len(batch), err)
	}
	if err := refuse(t.Context(), pool, time.Second, rowsOf(batch)); err != nil {
		t.Fatal(err)
	}
	r := &recovery{Outbox: New(Config{Pool: pool}), span: s}
	if err := r.sample(t.Context()); err != nil || r.Backlog().Refused[topics[0]] != asideBatch {
		t.Fatalf("measured %+v (%v), want %d set aside", r.Backlog(), err, asideBatch)
	}
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
