package outbox_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events/payment"
	"quadrille.internal/platform/outbox"
)

func withSlot(pool *pgxpool.Pool, b *broker) outbox.Config {
	cfg := config(pool, b)
	cfg.BySlot = true
	return cfg
}

func seesSlot(o *outbox.Outbox) func() bool { return func() bool { return o.Slot().Publishes } }

// seesReader begins to read the slot, and has nothing confirmed before the outbox has seen that:
// a slot that another process had when it was seen last, or none, and that has confirmed more since,
// may be another. Who makes a slot has it for a moment.
func seesReader(t *testing.T, o *outbox.Outbox, r *slotReader) {
	t.Helper()
	eventually(t, "the slot is seen without a reader", func() bool { s := o.Slot(); return s.Publishes && !s.Reading })
	r.hold(true)
	r.attach()
	eventually(t, "the reader is seen", func() bool { return o.Slot().Reading })
	r.hold(false)
}

// The row of an event goes when the slot's reader has confirmed it, and not before.
func TestSlot_ItsReaderPublishes(t *testing.T) {
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	r.attach()
	o := outbox.New(withSlot(pool, b))
	start(t, o)
	eventually(t, "the slot is seen", func() bool { return o.Slot().Publishes && o.Slot().Reading })
	for i := range 5 {
		r.hold(true)
		commit(t, o, 20)
		eventually(t, "all are read", func() bool { return r.distinct() == 20*(i+1) })
		eventually(t, "the slot is seen to be behind", func() bool { s := o.Slot(); return s.Oldest.Valid && s.Behind > 0 })
		if n := count(t, pool, "outbox"); n != 20 {
			t.Fatalf("%d rows, want the 20 that nobody has confirmed", n)
		}
		r.hold(false)
		eventually(t, "their rows are deleted", empty(t, pool))
	}
	if n := b.taken(); n != 0 {
		t.Errorf("%d events published from here, want none", n)
	}
}

// A commit is in the server's log before others see it. So a slot may begin behind the commit of
// a transaction that still seems to run when the slot is seen first: as long as a synchronous
// standby is waited for, for example. The service publishes what such a transaction wrote.
func TestSlot_TransactionsUnderWayWhenItIsSeenArePublishedFromHere(t *testing.T) {
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(t.Context(), `insert into outbox (id, topic, key, payload, leased_until)
		values (gen_random_uuid(), $1, 'an order', '{}', now())`, payment.TypeCompleted)
	if err != nil {
		t.Fatal(err)
	}
	o := outbox.New(withSlot(pool, b))
	start(t, o)
	eventually(t, "the slot is seen", seesSlot(o))
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is published from here", func() bool { return b.distinct() == 1 })
	eventually(t, "its row is deleted", empty(t, pool))
	seesReader(t, o, r)
	commit(t, o, 5)
	eventually(t, "later ones are published by the slot's reader", empty(t, pool))
	if n := b.distinct(); n != 1 {
		t.Errorf("%d events published from here, want 1", n)
	}
}

// Where there is no slot, or none any more, nothing waits for one.
func TestSlot_WithoutItEventsArePublishedFromHere(t *testing.T) {
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	o := outbox.New(withSlot(pool, b))
	start(t, o)
	eventually(t, "the slot is seen", seesSlot(o))
	commit(t, o, 10)
	r.drop()
	eventually(t, "it is seen to be gone", func() bool { return o.Slot().Gone })
	commit(t, o, 10)
	eventually(t, "what nobody read is published from here", func() bool { return b.distinct() == 20 })
	eventually(t, "the rows are deleted", empty(t, pool))

	commit(t, o, 10)
	eventually(t, "so is what comes then", func() bool { return b.distinct() == 30 })
	eventually(t, "the rows are deleted", empty(t, pool))
	r.create()
	seesReader(t, o, r)
	commit(t, o, 10)
	eventually(t, "the rows are deleted", empty(t, pool))
	if n := b.distinct(); n != 30 || r.distinct() != 10 {
		t.Errorf("%d events published from here and %d by the reader, want 30 and the last ten", n, r.distinct())
	}
}

// A reader that is away for a while finds what it has not confirmed.
func TestSlot_ItsReaderMayBeAway(t *testing.T) {
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	o := outbox.New(withSlot(pool, b))
	start(t, o)
	eventually(t, "the slot is seen", seesSlot(o))
	commit(t, o, 30)
	eventually(t, "the slot is seen to be behind", func() bool { s := o.Slot(); return s.Lag() > 0 && !s.Reading && !s.Gone })
	seesReader(t, o, r)
	eventually(t, "the rows are deleted", empty(t, pool))
	eventually(t, "nothing waits", func() bool { return o.Slot().Lag() == 0 })
	if n := b.taken(); n != 0 || r.distinct() != 30 {
		t.Errorf("%d events published from here, %d by the reader; want none and 30", n, r.distinct())
	}
}

// A slot of the same name confirms what it never saw. Its rows are published from here.
func TestSlot_WhatItMayHaveMissedIsPublishedFromHere(t *testing.T) {
	for _, c := range []struct {
		name string
		miss func(r *slotReader)
	}{
		{"dropped and made again", func(r *slotReader) { r.drop(); r.create() }},
		{"moved on by hand", func(r *slotReader) {
			r.exec(`select pg_replication_slot_advance($1, pg_current_wal_lsn())`, r.slot)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, b := openPool(t), newBroker()
			r := openSlot(t, pool)
			r.attach()
			cfg := withSlot(pool, b)
			first := outbox.New(cfg)
			stop := start(t, first)
			eventually(t, "the slot is seen", seesSlot(first))
			commit(t, first, 1)
			eventually(t, "the row is deleted", empty(t, pool))
			r.detach()
			commit(t, first, 30)
			stop() // nobody looks
			c.miss(r)
			r.attach()

			start(t, outbox.New(cfg))
			eventually(t, "the rows are deleted", empty(t, pool))
			if n := b.distinct(); n != 30 {
				t.Errorf("%d of 30 events were published from here, and %d by the reader", n, r.distinct()-1)
			}
		})
	}
}

// A transaction that began before a mark and commits after it keeps its row until the
// reader has it.
func TestSlot_ALateCommitIsNotDeletedUnread(t *testing.T) {
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	r.attach()
	o := outbox.New(withSlot(pool, b))
	start(t, o)
	eventually(t, "the slot is seen", seesSlot(o))
	late, commitLate, committed := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		committed <- o.InTx(context.Background(), func(ctx context.Context, tx *outbox.Tx) error {
			_, err := tx.Exec(ctx, `insert into ledger (order_id) values ($1)`, uuid.New()) // its place in the order
			close(late)
			<-commitLate
			if err == nil {
				err = tx.Emit("", charged())
			}
			return err
		})
	}()
	<-late
	for range 20 {
		commit(t, o, 1)
	}
	eventually(t, "the others are read", func() bool { return r.distinct() == 20 })
	r.hold(true)
	close(commitLate)
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is read", func() bool { return r.distinct() == 21 })
	if n := count(t, pool, "outbox"); n == 0 {
		t.Error("its row was deleted before it was confirmed")
	}
	r.hold(false)
	eventually(t, "the rows are deleted", empty(t, pool))
	if n := b.taken(); n != 0 {
		t.Errorf("%d events published from here, want none", n)
	}
}

// Whatever becomes of the slot and of the processes, each event is published by one of the
// two at least, and rows go.
func TestSlot_RandomLossesLoseNothing(t *testing.T) {
	const rounds = 25
	pool, b := openPool(t), newBroker()
	r := openSlot(t, pool)
	cfg := withSlot(pool, b)
	cfg.Drain = time.Nanosecond // a kill, as far as a test can make one
	there, reads := true, false
	for range rounds {
		var replicas sync.WaitGroup
		for range 2 {
			replicas.Go(func() { live(t, outbox.New(cfg), 10) })
		}
		for range rand.N(6) {
			switch {
			case reads:
				r.detach()
				reads = false
			case !there:
				r.create()
				there = true
			case rand.N(3) == 0:
				r.drop()
				if there = rand.N(2) == 0; there {
					r.create()
				}
			default:
				r.attach()
				reads = true
			}
		}
		replicas.Wait()
	}
	if !there {
		r.create()
	}
	if !reads {
		r.attach()
	}
	start(t, outbox.New(cfg))
	eventually(t, "all rows are deleted", empty(t, pool))
	r.mu.Lock()
	b.mu.Lock()
	published := len(r.seen)
	for id := range b.times {
		if r.seen[id.String()] == 0 {
			published++
		}
	}
	b.mu.Unlock()
	r.mu.Unlock()
	if committed := count(t, pool, "ledger"); published != committed {
		t.Errorf("%d of %d events are lost: %d published from here, %d by the reader",
			committed-published, committed, b.distinct(), r.distinct())
	}
	t.Logf("%d events published from here, %d by the reader", b.distinct(), r.distinct())
}
