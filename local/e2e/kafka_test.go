package e2e

import (
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"quadrille.internal/events"
)

func needKafka(t *testing.T) {
	t.Helper()
	if !onKafka {
		t.Skip("for Kafka: QUADRILLE_TEST_BROKER=kafka")
	}
}

// Events of one order have its id as key, and so the same partition in each topic. Which one it is depends on the id, so orders
// are placed until two of them differ: of 3 partitions, 40 orders all take one by chance in less than one run of 10^18.
func TestOnKafka_AnOrderKeepsToItsPartition(t *testing.T) {
	needKafka(t)
	s := sys
	s.setStock(t, "partitioned", map[string]int64{"leeds": 100})
	used := map[int32]bool{}
	for placed := 0; placed < 40 && (placed < 6 || len(used) < 2); placed++ {
		id := s.mustPlace(t, basketOf("partitioned", 1, "tok_success"))
		s.expect(t, id, confirmed(250))
		found := s.partitions(t, id)
		if len(found) != 1 {
			t.Errorf("order %s lies in partitions %v, want one", id, found)
		}
		for partition := range found {
			used[partition] = true
		}
	}
	if len(used) < 2 {
		t.Errorf("all orders lie in partition %v", used)
	}
}

// partitions are the numbers of those that hold events of an order, with their topics.
func (s *system) partitions(t *testing.T, id uuid.UUID) map[int32][]string {
	t.Helper()
	kafka := kafkaCarrier{s, s.kafka(t)}
	found := map[int32][]string{}
	for _, topic := range topics {
		if err := kafka.each(t.Context(), topic, func(r *kgo.Record) {
			if _, event, err := events.Decode(r.Value); err == nil && events.OrderOf(event) == id {
				found[r.Partition] = append(found[r.Partition], topic)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
