package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.yaml.in/yaml/v3"

	"quadrille.internal/events"
	companies "quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/quad/components"
)

// warehouse is another system. It hears what leaves, and has a topic of its own.
const (
	warehouse = "warehouse"
	packed    = "warehouse.goods.packed"
)

// promises are the schemas that docs/asyncapi.yaml has for the messages of each topic.
func (s *system) promises(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Root, "docs", "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var whole any
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Channels map[string]struct {
			Messages struct {
				Event struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
	if err := json.Unmarshal(asJSON, &document); err != nil {
		t.Fatal(err)
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.yaml", resource); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for topic, channel := range document.Channels {
		if schemas[topic], err = compiler.Compile("asyncapi.yaml" + channel.Messages.Event.Ref + "/payload"); err != nil {
			t.Fatalf("schema of %s: %v", topic, err)
		}
	}
	return schemas
}

// kept reports what a message breaks of CloudEvents, by its official SDK, or of the
// document.
func kept(topic string, payload []byte, schema *jsonschema.Schema) error {
	var e cloudevents.Event
	if err := json.Unmarshal(payload, &e); err != nil {
		return fmt.Errorf("CloudEvents: %w", err)
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("CloudEvents: %w", err)
	}
	if e.Type() != topic || e.DataContentType() != cloudevents.ApplicationJSON {
		return fmt.Errorf("it is a %s of %s", e.DataContentType(), e.Type())
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return schema.Validate(instance)
}

// A system that knows nothing of Dapr, with a plain client of the broker and a consumer
// group of its own, gets what the document promises.
func TestOutside_EveryEventIsAsTheDocumentPromises(t *testing.T) {
	s := sys
	promised := s.promises(t)
	want := []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, inventory.TypeReservationFailed, inventory.TypeReleased,
		inventory.TypeCommitted, inventory.TypeStockChanged, payment.TypeCompleted, payment.TypeFailed,
		order.TypeConfirmed, order.TypeCancelled, companies.TypeOrderSubmitted, companies.TypeOrderCompleted,
	}
	s.setStock(t, "heard-outside", map[string]int64{"leeds": 100})
	placed := map[uuid.UUID]ended{}
	for _, token := range []string{"tok_success", "tok_decline"} {
		want := confirmed(250)
		if token == "tok_decline" {
			want = cancelled(events.ReasonPaymentDeclined, "released", "failed", 0)
		}
		placed[s.mustPlace(t, basketOf("heard-outside", 1, token))] = want
	}
	placed[s.mustPlace(t, basketOf("heard-outside-none", 1, "tok_success"))] = cancelled(events.ReasonOutOfStock, "refused", "unknown", 0)
	c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500}, time.Hour)
	c.end(sagas{c.mustSubmit(1, 500): "completed"})
	for id, end := range placed {
		s.expect(t, id, end)
	}

	subscribe := s.outsideRedis
	if onKafka {
		subscribe = s.outsideKafka
	}
	next := subscribe(t, want)
	heard := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), settleWithin)
	defer cancel()
	for len(heard) < len(want) {
		topic, payload, err := next(ctx)
		if err != nil {
			t.Fatalf("heard %v: %v", heard, err)
		}
		if parkedByOthers(payload) {
			continue
		}
		heard[topic]++
		if err := kept(topic, payload, promised[topic]); err != nil {
			t.Errorf("%s: %v\n%s", topic, err, payload)
		}
	}
	t.Logf("heard %v", heard)
}

// parkedByOthers tells what other tests of this package put on the broker to be refused.
func parkedByOthers(payload []byte) bool {
	_, _, err := events.Decode(payload)
	return err != nil
}

// outsideRedis reads streams in a consumer group of its own, from the beginning.
func (s *system) outsideRedis(t *testing.T, topics []string) func(context.Context) (string, []byte, error) {
	client := redis.NewClient(&redis.Options{Addr: s.RedisAddr(), Password: s.RedisPassword()})
	t.Cleanup(func() { _ = client.Close() })
	group := warehouse + "-" + newKey()[:8]
	var streams []string
	for _, topic := range topics {
		if err := client.XGroupCreateMkStream(t.Context(), topic, group, "0").Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.XGroupDestroy(context.WithoutCancel(t.Context()), topic, group) })
		streams = append(streams, topic)
	}
	for range topics {
		streams = append(streams, ">")
	}
	type message struct {
		topic   string
		payload []byte
	}
	var have []message
	return func(ctx context.Context) (string, []byte, error) {
		for len(have) == 0 {
			read, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group: group, Consumer: "one", Streams: streams, Count: 100, Block: time.Second, NoAck: true,
			}).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return "", nil, err
			}
			for _, stream := range read {
				for _, entry := range stream.Messages {
					payload, _ := entry.Values[payloadField].(string)
					have = append(have, message{stream.Stream, []byte(payload)})
				}
			}
		}
		m := have[0]
		have = have[1:]
		return m.topic, m.payload, nil
	}
}

// outsideKafka reads topics in a consumer group of its own, from the beginning, on three
// brokers as a user that may read these only.
func (s *system) outsideKafka(t *testing.T, topics []string) func(context.Context) (string, []byte, error) {
	user, group := "", warehouse
	if onThreeBrokers {
		user = warehouse
		if err := s.GrantKafka(t.Context(), user, nil, topics); err != nil {
			t.Fatal(err)
		}
	}
	client := s.kafkaAs(t, user, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var have []*kgo.Record
	return func(ctx context.Context) (string, []byte, error) {
		for len(have) == 0 {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return "", nil, err
			}
			have = fetches.Records()
		}
		r := have[0]
		have = have[1:]
		return r.Topic, r.Value, nil
	}
}

// operatorsCopy is a copy of the component files to which operators have added another
// system, as docs/operating.md says: it hears one topic, and publishes one of its own.
func (s *system) operatorsCopy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"pubsub.yaml", "secrets.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.Components(), file))
		if err != nil {
			t.Fatal(err)
		}
		changed := string(text)
		for from, to := range map[string]string{
			"\nscopes:\n":                           "\nscopes:\n  - " + warehouse + "\n",
			"value: &topics >-\n":                   "value: &topics >-\n        " + packed + ",\n",
			"publishingScopes\n      value: >-\n":   "publishingScopes\n      value: >-\n        " + warehouse + "=" + packed + ";\n",
			"subscriptionScopes\n      value: >-\n": "subscriptionScopes\n      value: >-\n        " + warehouse + "=" + inventory.TypeCommitted + ";\n",
		} {
			changed = strings.Replace(changed, from, to, 1)
		}
		if changed = strings.Replace(changed, "# quad generate: scopes", "#", 1); changed == string(text) {
			t.Fatalf("%s is not as it was expected", file)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Another system has a sidecar and its own app id: operators name its topics.
func TestOutside_ASidecarPublishesItsOwnTopicAndNoOther(t *testing.T) {
	s := sys
	if onThreeBrokers {
		if err := errors.Join(s.MakeTopics(t.Context(), packed), s.GrantKafka(t.Context(), warehouse, []string{packed}, []string{inventory.TypeCommitted})); err != nil {
			t.Fatal(err)
		}
	}
	s.giveSecrets(t, warehouse, warehouse)
	copied := s.operatorsCopy(t)
	folder, err := components.Read(copied)
	if err != nil {
		t.Fatal(err)
	}
	sidecar := s.foreignSidecar(t, warehouse, copied)
	said := `{"specversion":"1.0","id":"` + newKey() + `","source":"warehouse","type":"` + packed + `","data":{}}`
	for _, topic := range folder.AllTopics() {
		want := http.StatusForbidden
		if topic == packed {
			want = http.StatusNoContent
		}
		a := s.ask(t, http.MethodPost, sidecar+"/v1.0/publish/pubsub/"+topic+"?metadata.rawPayload=true",
			map[string]string{"dapr-api-token": s.DaprAPIToken(), "Content-Type": cloudevents.ApplicationCloudEventsJSON}, json.RawMessage(said))
		if a.status != want {
			t.Errorf("%s publishes %s: %d %s, want %d", warehouse, topic, a.status, a.body, want)
		}
	}
	payloads, err := s.broker(t).read(t.Context(), packed)
	if err != nil || len(payloads) != 1 || payloads[0] != said {
		t.Errorf("on the broker: %q, %v", payloads, err)
	}
}

// Who holds a password of the broker can say what it likes there, where the broker knows
// one user only. Consumers refuse what is not the owner's.
func TestOutside_AnEventOfAnotherSourceIsParked(t *testing.T) {
	s, broker := sys, sys.broker(t)
	s.setStock(t, "not-paid", map[string]int64{"leeds": 5})
	id := s.mustPlace(t, basketOf("not-paid", 1, "tok_decline"))
	s.expect(t, id, cancelled(events.ReasonPaymentDeclined, "released", "failed", 0))
	for _, c := range []struct {
		name, source, topic string
		event               events.Event
		heardBy             []string
	}{
		{"another system", warehouse, payment.TypeCompleted, &payment.Completed{
			OfOrder: events.OfOrder{OrderID: uuid.New()}, ChargeID: "ch_forged", Amount: events.Money{Amount: 250, Currency: "GBP"},
		}, []string{"order"}},
		{"another service", "checkout", order.TypeConfirmed, &order.Confirmed{
			OfOrder: events.OfOrder{OrderID: uuid.New()}, CustomerID: "c1", Total: events.Money{Amount: 250, Currency: "GBP"},
		}, []string{"checkout", "inventory"}},
		{"a type of another owner on its topic", "payment", order.TypeConfirmed, &payment.Completed{
			OfOrder: events.OfOrder{OrderID: uuid.New()}, ChargeID: "ch_forged", Amount: events.Money{Amount: 250, Currency: "GBP"},
		}, []string{"checkout", "inventory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			event, payload := envelope(t, c.source, c.event)
			if err := broker.publish(t.Context(), c.topic, payload); err != nil {
				t.Fatal(err)
			}
			for _, app := range c.heardBy {
				p := s.awaitParked(t, app, withID(event))
				t.Cleanup(func() { s.discard(t, app) })
				if !slices.ContainsFunc([]string{"its source is", "came on topic"}, func(why string) bool { return strings.Contains(p.Cause, why) }) {
					t.Errorf("%s parked it since %q", app, p.Cause)
				}
			}
			if n := s.text(t.Context(), t, "order", `select count(*)::text from orders where id = $1`, events.OrderOf(c.event)); n != "0" {
				t.Errorf("order has %s orders of a forged event", n)
			}
		})
	}
	s.balanced(t)
}

// On brokers that know users the scopes hold without any sidecar.
func TestOutside_UsersOfTheBrokerDoWhatTheirScopesSay(t *testing.T) {
	needThreeBrokers(t)
	s, ctx := sys, t.Context()
	if err := errors.Join(s.MakeTopics(ctx, packed), s.GrantKafka(ctx, warehouse, []string{packed}, []string{inventory.TypeCommitted})); err != nil {
		t.Fatal(err)
	}
	folder, err := components.Read(s.Components())
	if err != nil {
		t.Fatal(err)
	}
	publishing := folder.Publishing()
	publishing[warehouse] = []string{packed}
	for _, user := range append(s.Apps(), warehouse) {
		var records []*kgo.Record
		for _, topic := range append(folder.AllTopics(), packed) {
			if !slices.Contains(publishing[user], topic) { // else every service hears it; orders prove that it may
				records = append(records, &kgo.Record{Topic: topic, Value: []byte("{}")})
			}
		}
		for _, result := range s.kafkaAs(t, user).ProduceSync(ctx, records...) {
			if !errors.Is(result.Err, kerr.TopicAuthorizationFailed) {
				t.Errorf("%s publishes %s: %v, want %v", user, result.Record.Topic, result.Err, kerr.TopicAuthorizationFailed)
			}
		}
	}
	own := s.kafkaAs(t, warehouse)
	if err := own.ProduceSync(ctx, &kgo.Record{Topic: packed, Value: []byte("{}")}).FirstErr(); err != nil {
		t.Errorf("%s publishes its own topic: %v", warehouse, err)
	}
	for name, c := range map[string]struct {
		opts []kgo.Opt
		want error
	}{
		"a topic that is not its": {[]kgo.Opt{kgo.ConsumeTopics(payment.TypeRefunded)}, kerr.TopicAuthorizationFailed},
		"another's group":         {[]kgo.Opt{kgo.ConsumeTopics(inventory.TypeCommitted), kgo.ConsumerGroup("order")}, kerr.GroupAuthorizationFailed},
	} {
		ctx, cancel := context.WithTimeout(ctx, soon)
		if err := s.kafkaAs(t, warehouse, c.opts...).PollFetches(ctx).Err(); !errors.Is(err, c.want) {
			t.Errorf("%s reads %s: %v, want %v", warehouse, name, err, c.want)
		}
		cancel()
	}
}
