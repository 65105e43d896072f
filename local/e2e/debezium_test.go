package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/local/stack"
)

const connect = "connect"

func needDebezium(t *testing.T) {
	t.Helper()
	if !byDebezium {
		t.Skip("for Debezium: QUADRILLE_TEST_BROKER=kafka QUADRILLE_TEST_RELAY=debezium")
	}
}

// admin runs a statement in an app's database as superuser.
func (s *system) admin(t *testing.T, app, sql string, args ...any) {
	t.Helper()
	cfg, err := pgx.ParseConfig(s.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = app
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s in %s: %v", sql, app, err)
	}
}

// published counts what services have published by themselves.
func (s *system) publishedByServices(t *testing.T) (sum float64) {
	t.Helper()
	for _, app := range s.WithDatabase() {
		sum += s.metric(t, s.HealthURL(app), "quadrille_outbox_published_total")
	}
	return sum
}

// cleared waits until all outboxes are empty.
func (s *system) cleared(t *testing.T) {
	t.Helper()
	eventually(t, settleWithin, "outboxes are empty", func(ctx context.Context) error {
		for _, app := range s.WithDatabase() {
			if n := s.text(ctx, t, app, `select count(*)::text from outbox`); n != "0" {
				return fmt.Errorf("that of %s has %s events", app, n)
			}
		}
		return nil
	})
}

// dropSlots kills Connect, which would make its slots again, and drops them.
func (s *system) dropSlots(t *testing.T) {
	t.Helper()
	if s.Process(connect) != nil {
		s.kill(t, connect)
	}
	for _, app := range s.WithDatabase() {
		eventually(t, soon, "the slot of "+app+" is let go", func(ctx context.Context) error {
			slots, err := s.Slots(ctx)
			if err == nil && slots[app].Read {
				err = errors.New("is read")
			}
			return err
		})
		s.admin(t, app, `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()`)
	}
}

// While there are slots, Debezium publishes and the services do not; their outboxes are
// cleaned all the same.
func TestDebezium_PublishesInPlaceOfTheServices(t *testing.T) {
	needDebezium(t)
	s := sys
	s.awaitSlots(t, "there", 0)
	s.cleared(t)
	before := s.publishedByServices(t)
	s.settles(t, s.underLoad(t, 100, func() {}))
	s.cleared(t)
	if n := s.publishedByServices(t) - before; n != 0 {
		t.Errorf("services published %.0f events by themselves, want none", n)
	}
}

// An event is the same message no matter who publishes it: key, value, headers and partition,
// byte by byte.
func TestDebezium_PublishesTheSameBytes(t *testing.T) {
	needDebezium(t)
	const orders = 30
	s := sys
	s.setStock(t, "same-bytes", map[string]int64{"leeds": 10 * orders})
	ids := map[uuid.UUID]bool{}
	for range orders {
		ids[s.mustPlace(t, basketOf("same-bytes", 1, "tok_success"))] = true
	}
	for id := range ids {
		s.expect(t, id, confirmed(250))
	}
	s.cleared(t)
	confirmations := func() map[uuid.UUID][]record { // by event
		found := map[uuid.UUID][]record{}
		for _, r := range s.records(t, order.TypeConfirmed) {
			if envelope, event, err := events.Decode([]byte(r.value)); err == nil && ids[events.OrderOf(event)] {
				found[envelope.ID] = append(found[envelope.ID], r)
			}
		}
		return found
	}
	first := confirmations()
	if len(first) != orders {
		t.Fatalf("Debezium published %d of %d confirmations", len(first), orders)
	}
	s.dropSlots(t)
	t.Cleanup(func() { s.revive(t) })
	for id, r := range first {
		s.admin(t, "order", `insert into outbox (id, topic, key, payload, leased_until) values ($1, $2, $3, $4, now())`,
			id, r[0].topic, r[0].key, []byte(r[0].value))
	}
	s.cleared(t)
	partitions := map[int]bool{}
	for id, r := range confirmations() {
		if len(r) < 2 {
			t.Fatalf("event %s was not published by the service", id)
		}
		ours, theirs := r[len(r)-1], r[0]
		if ours.key != theirs.key || ours.value != theirs.value || ours.partition != theirs.partition || !slices.Equal(ours.headers, theirs.headers) {
			t.Errorf("published by the service:\n%+v\nby Debezium:\n%+v", ours, theirs)
		}
		partitions[ours.partition] = true
	}
	if len(partitions) < 2 {
		t.Errorf("all events lie in partition %v: that they agree shows nothing", partitions)
	}
}

// away is for how long a part is away, in a soak for minutes. Otherwise it is just longer
// than all after which somebody acts, as nothing more happens then: a lease (5 s), after
// which a service would publish; heartbeat.interval.ms of Connect (3 s), after which a
// worker without a broker stops its tasks; what it gives them to stop (5 s), after which it
// abandons them; and its session (10 s).
func away() time.Duration {
	if soak() {
		return 3 * time.Minute
	}
	return 12 * time.Second
}

// Slots fall behind while Connect is away. The events wait for it: services publish none.
func TestDebezium_NothingIsLostWhileConnectIsAway(t *testing.T) {
	needDebezium(t)
	s := sys
	s.setStock(t, "waits", map[string]int64{"leeds": 10})
	var waits uuid.UUID
	l := s.underLoad(t, scaled(200), func() {
		s.kill(t, connect)
		pauseFor(t, time.Second) // for the services to see that nobody reads
		waits = s.mustPlace(t, basketOf("waits", 1, "tok_success"))
		pauseFor(t, away())
		slots, err := s.Slots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if slot := slots["checkout"]; slot.Read || slot.Behind == 0 || slot.Status == "lost" {
			t.Errorf("slot %+v, want one that is behind", slot)
		}
		if n := s.text(t.Context(), t, "checkout", `select count(*)::text from outbox where key = $1`, waits.String()); n == "0" {
			t.Error("checkout published an event by itself, though the slot is there")
		}
		s.revive(t)
	})
	s.expect(t, waits, confirmed(250))
	s.settles(t, l)
	s.cleared(t)
}

// Connect is killed again and again.
func TestDebezium_NothingIsLostWhenConnectIsKilled(t *testing.T) {
	needDebezium(t)
	s := sys
	kills := 2
	if soak() {
		kills = 50
	}
	s.settles(t, s.underLoad(t, scaled(200), func() {
		for range kills {
			s.kill(t, connect)
			s.revive(t)
		}
	}))
	s.cleared(t)
}

func TestDebezium_NothingIsLostWhileTheBrokerIsAway(t *testing.T) {
	needDebezium(t)
	s := sys
	s.settles(t, s.underLoad(t, scaled(200), func() {
		s.kill(t, "kafka")
		pauseFor(t, away())
		s.revive(t)
	}))
	s.cleared(t)
}

func TestDebezium_NothingIsLostWhenTheDatabaseIsKilled(t *testing.T) {
	needDebezium(t)
	s := sys
	s.settles(t, s.underLoad(t, scaled(200), func() {
		s.kill(t, "postgres")
		s.revive(t)
	}))
	s.cleared(t)
}

// What a failover of PostgreSQL 15 does to slots: they are gone, with what their reader had
// not seen. The services publish it, and go on until Connect has made new slots.
func TestDebezium_NothingIsLostWithTheSlots(t *testing.T) {
	needDebezium(t)
	s := sys
	l := s.underLoad(t, scaled(200), func() { s.dropSlots(t) })
	s.settles(t, l) // without Connect
	s.cleared(t)
	s.revive(t)
	s.publishedBySlots(t)
}

// publishedBySlots checks that the services see slots, and publish nothing themselves.
func (s *system) publishedBySlots(t *testing.T) {
	t.Helper()
	s.awaitSlots(t, "there", 0)
	before := s.publishedByServices(t)
	s.settles(t, s.underLoad(t, 50, func() {}))
	s.cleared(t)
	if n := s.publishedByServices(t) - before; n != 0 {
		t.Errorf("services published %.0f events by themselves, want none: the slots are there again", n)
	}
}

// awaitSlots waits until all services say that their slot is gone (1), or there (0).
func (s *system) awaitSlots(t *testing.T, what string, gone float64) {
	t.Helper()
	eventually(t, soon, "all slots are "+what, func(context.Context) error {
		for _, app := range s.WithDatabase() {
			if s.metric(t, s.HealthURL(app), "quadrille_outbox_slot_gone") != gone {
				return errors.New("that of " + app + " is not")
			}
			if gone == 0 && s.metric(t, s.HealthURL(app), "quadrille_outbox_slot_unread") != 0 {
				return errors.New("that of " + app + " has no reader that the service has seen")
			}
		}
		return nil
	})
}

// PostgreSQL gives slots up that keep more log than they may, of all databases at once. The
// services publish what waits for them, and say what to do; quad up does it.
func TestDebezium_NothingIsLostWhenSlotsAreInvalidated(t *testing.T) {
	needDebezium(t)
	s := sys
	away := []string{connect}
	if soak() {
		away = append(away, "kafka") // Connect runs, and cannot go on
	}
	for _, part := range away {
		t.Run(part+" is away", func(t *testing.T) {
			before := s.publishedByServices(t)
			l := s.underLoad(t, scaled(200), func() {
				s.kill(t, part)
				s.loseSlots(t)
				s.awaitSlots(t, "gone", 1)
				if part != connect {
					s.revive(t)
				}
			})
			s.settles(t, l)
			s.cleared(t)
			if s.publishedByServices(t) == before {
				t.Error("services published nothing, and slots that are lost did?")
			}
			for _, app := range s.WithDatabase() {
				log, err := os.ReadFile(s.LogFile(app))
				if err != nil || !strings.Contains(string(log), "the replication slot is lost") {
					t.Errorf("%s does not say that its slot is lost: %v", app, err)
				}
			}
			s.revive(t)
			s.publishedBySlots(t)
		})
	}
}

// loseSlots has more log written than slots may keep, until PostgreSQL has given all up.
func (s *system) loseSlots(t *testing.T) {
	t.Helper()
	s.admin(t, "postgres", `alter system set max_slot_wal_keep_size = '1MB'`)
	s.admin(t, "postgres", `select pg_reload_conf()`)
	defer func() {
		s.admin(t, "postgres", `alter system reset max_slot_wal_keep_size`)
		s.admin(t, "postgres", `select pg_reload_conf()`)
	}()
	eventually(t, soon, "all slots are lost", func(ctx context.Context) error {
		s.admin(t, "postgres", `select pg_logical_emit_message(false, 'test', repeat('x', 1 << 20))`)
		s.admin(t, "postgres", `select pg_switch_wal()`)
		s.admin(t, "postgres", `checkpoint`)
		slots, err := s.Slots(ctx)
		if err != nil {
			return err
		}
		for app, slot := range slots {
			if slot.Status != "lost" {
				return fmt.Errorf("that of %s is %s", app, slot.Status)
			}
		}
		return nil
	})
}

// Slots are lost and made again behind the services' back, while these are away too.
func TestDebezium_NothingIsLostWithSlotsMadeAgain(t *testing.T) {
	needDebezium(t)
	s := sys
	l := s.underLoad(t, scaled(200), func() {
		s.kill(t, connect)
		pauseFor(t, time.Second) // orders go on: the slots miss them
		for _, app := range s.Apps() {
			s.kill(t, app)
		}
		s.dropSlots(t)
		s.revive(t) // Connect, which makes slots, and then the services
	})
	s.settles(t, l)
	s.cleared(t)
}

// Services of the release before, on today's schema, are replaced by today's while customers
// order, no matter who published until then: they themselves, or Debezium, as from now on.
func TestDebezium_TheReleaseBeforeIsReplacedByTodays(t *testing.T) {
	needDebezium(t)
	s := sys
	for _, relay := range []string{stack.OutboxRelay, stack.Debezium} {
		t.Run("published by "+relay, func(t *testing.T) {
			t.Cleanup(func() { s.revive(t) })
			before := releaseBefore(t, stack.Options{Dir: s.Dir, PortShift: kafkaPortShift, Broker: stack.Kafka, Relay: relay})
			r := &releases{system: s, before: before}
			r.replaceAll(t, before)
			s.settles(t, s.underLoad(t, scaled(200), func() {
				for _, app := range before.Apps() {
					r.replaceSome(t, map[string]*stack.Stack{app: s.Stack})
				}
			}))
			s.cleared(t)
			s.publishedBySlots(t)
		})
	}
}

// pauseFor waits: for how long something is away is what the test is about.
func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
