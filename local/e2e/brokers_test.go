package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/order"
	"quadrille.internal/local/stack"
)

func needThreeBrokers(t *testing.T) {
	t.Helper()
	if !onThreeBrokers {
		t.Skip("for three brokers: QUADRILLE_TEST_BROKER=" + stack.Kafka + "-3")
	}
}

// awaitReplicas waits until all brokers have all that was acknowledged.
func (s *system) awaitReplicas(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	if err := s.AwaitReplicas(ctx); err != nil {
		t.Fatal(err)
	}
}

// One of three brokers is killed, the one that leads a topic of every order. Orders go on
// with two and all of them end. In a soak it comes back, and another is killed and started
// again at once.
func TestBrokers_OneIsKilledUnderLoad(t *testing.T) {
	needThreeBrokers(t)
	s := sys
	s.awaitReplicas(t)
	first, err := s.LeaderOf(t.Context(), order.TypeConfirmed, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := s.underLoad(t, crowd(), func() { s.kill(t, first) })
	s.settles(t, l) // with two
	s.revive(t)
	s.awaitReplicas(t)
	ids := l.ids()
	for range setting("QUADRILLE_SOAK", 0) {
		second, err := s.LeaderOf(t.Context(), checkout.TypeOrderCreated, 0)
		if err != nil {
			t.Fatal(err)
		}
		l := s.underLoad(t, crowd(), func() {
			s.kill(t, second)
			s.revive(t)
		})
		s.settles(t, l)
		s.awaitReplicas(t)
		ids = append(ids, l.ids()...)
	}
	s.committedOnce(t, ids...)
}

// A second replica of order joins its consumer group while orders come all the time, takes
// over partitions, and leaves.
func TestBrokers_ReplicasComeAndGoUnderLoad(t *testing.T) {
	needThreeBrokers(t)
	const raise, app = 50, "order"
	s, times := sys, max(1, setting("QUADRILLE_SOAK", 1))
	var handled float64
	l := s.underLoad(t, 5*crowd(), func() {
		for range times {
			pair := []*exec.Cmd{s.twin(t, stack.Sidecar(app), raise), s.twin(t, app, raise)}
			for _, cmd := range pair {
				startTwin(t, cmd)
			}
			s.awaitTwin(t, app, raise)
			url := raised(s.HealthURL(app), raise)
			eventually(t, settleWithin, "the second replica handles events", func(context.Context) error {
				if n := s.metric(t, url, "quadrille_inbox_handled_total"); n > 0 {
					handled += n
					return nil
				}
				return fmt.Errorf("it has handled none")
			})
			stopTwin(t, pair[1], soon) // the service first, which publishes through its sidecar
			stopTwin(t, pair[0], soon)
		}
	})
	s.settles(t, l)
	s.committedOnce(t, l.ids()...)
	t.Logf("the second replica handled at least %v events", handled)
}

// Orders whose events lie behind poison in the same partition are settled all the same,
// before anybody mends its cause, and the poison is replayed once its cause is mended.
func TestBrokers_PoisonInAHotPartitionHoldsUpNobody(t *testing.T) {
	needThreeBrokers(t)
	const orders = 120
	s := sys
	s.setStock(t, "hot-poison", map[string]int64{"leeds": 10})
	s.setStock(t, "hot", map[string]int64{"leeds": 10 * orders})
	s.asOwner(t, "inventory", `alter table stock add constraint poison check (sku <> 'hot-poison' or held = 0)`)
	mend := func() { s.asOwner(t, "inventory", `alter table stock drop constraint if exists poison`) }
	t.Cleanup(mend)

	poison := s.mustPlace(t, basketOf("hot-poison", 1, "tok_success"))
	var created *kgo.Record
	kafka := kafkaCarrier{s, s.kafka(t)}
	eventually(t, settleWithin, "the poison on its topic", func(ctx context.Context) error {
		err := kafka.each(ctx, checkout.TypeOrderCreated, func(r *kgo.Record) {
			if string(r.Key) == poison.String() {
				created = r
			}
		})
		if err == nil && created == nil {
			err = fmt.Errorf("order %s is not there", poison)
		}
		return err
	})
	// Rubbish in the same partition too.
	straight := s.kafka(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	rubbish := &kgo.Record{Topic: created.Topic, Partition: created.Partition, Value: []byte("rubbish " + newKey())}
	if err := straight.ProduceSync(t.Context(), rubbish).FirstErr(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ids := make([]uuid.UUID, orders)
	for i := range ids {
		ids[i] = s.mustPlace(t, basketOf("hot", 1, "tok_success"))
	}
	for id, o := range s.awaitSettled(t, settleWithin, ids...) {
		if o.end() != "confirmed" {
			t.Errorf("order %s ended %s", id, o.end())
		}
	}
	behind := 0
	if err := kafka.each(t.Context(), created.Topic, func(r *kgo.Record) {
		if r.Partition == created.Partition && r.Offset > rubbish.Offset {
			behind++
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d orders, %d of them behind the poison, settled within %s", orders, behind, time.Since(began).Round(10*time.Millisecond))
	if behind < orders/10 {
		t.Errorf("only %d orders lie behind the poison", behind)
	}

	envelope, _, err := events.Decode(created.Value)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitParked(t, "inventory", withID(envelope.ID))
	s.awaitParked(t, "inventory", func(p parked) bool { return string(p.Payload) == string(rubbish.Value) })
	mend()
	if a := s.replay(t, "inventory", envelope.ID); a.status/100 != 2 {
		t.Fatalf("replay answers %d %s", a.status, a.body)
	}
	s.expect(t, poison, confirmed(250))
	for _, app := range []string{"inventory", "order"} { // both hear the topic
		s.discard(t, app)
	}
	s.balanced(t)
}
