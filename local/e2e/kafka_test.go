package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events/order"
)

// kafkaTests are what is run on Kafka unless -run says otherwise: how each kind of
// order ends, and that nothing is lost whatever is killed, away or joins. The same
// tests, services and sidecars as on Redis, with the other folder of components.
const kafkaTests = "^(TestRule4_EveryKindOfOrder.*|TestRule4_Shortage.*|TestRule4_CustomerCancels.*" +
	"|TestRule3_NothingIsLostWhenAProcessIsKilled|TestRule3_NothingIsLostWhileAServiceIsAwayFor10Seconds" +
	"|TestRule3_NothingIsLostWhenTheBrokerIsKilled|TestReplicas.*|TestAccess.*|TestOnKafka.*)$/^(tok_.*|inventory|order-daprd)$"

func needKafka(t *testing.T) {
	t.Helper()
	if !onKafka {
		t.Skip("for Kafka: QUADRILLE_TEST_BROKER=kafka")
	}
}

// A batch that is refused holds up all topics of its app, so rubbish may never be.
func TestOnKafka_RubbishIsParkedAndBlocksNobody(t *testing.T) {
	needKafka(t)
	s := sys
	s.setStock(t, "beside-rubbish", map[string]int64{"leeds": 10})
	rubbish := "rubbish " + newKey()
	a := s.ask(t, http.MethodPost, s.DaprURL("order")+"/v1.0/publish/pubsub/"+order.TypeConfirmed+"?metadata.rawPayload=true",
		map[string]string{"dapr-api-token": s.DaprAPIToken()}, rubbish)
	if a.status != http.StatusNoContent {
		t.Fatalf("publish: %d %s", a.status, a.body)
	}
	s.expect(t, s.mustPlace(t, basketOf("beside-rubbish", 1, "tok_success")), confirmed(250))
	for _, app := range []string{"checkout", "inventory"} {
		s.awaitParked(t, app, func(p parked) bool { return strings.Contains(string(p.Payload), rubbish) })
		s.discard(t, app)
	}
	s.balanced(t)
}

// Events of one order have its id as key, and so the same partition in each topic.
func TestOnKafka_AnOrderKeepsToItsPartition(t *testing.T) {
	needKafka(t)
	s := sys
	s.setStock(t, "partitioned", map[string]int64{"leeds": 100})
	used := map[string]bool{}
	for range 6 {
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

// partitions are the numbers of those that hold events of an order, with their
// topics, as the broker has them on disk.
func (s *system) partitions(t *testing.T, id uuid.UUID) map[string][]string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.Dir, "kafka", "data", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	folder := regexp.MustCompile(`^(` + strings.Join(topics, "|") + `)-(\d+)$`)
	found := map[string][]string{}
	for _, log := range logs {
		topic := folder.FindStringSubmatch(filepath.Base(filepath.Dir(log)))
		if topic == nil {
			continue
		}
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, fmt.Appendf(nil, `"order_id":"%s"`, id)) {
			found[topic[2]] = append(found[topic[2]], topic[1])
		}
	}
	return found
}
