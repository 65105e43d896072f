package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long brokers may take for what takes seconds on a quiet machine.
const patience = 3 * time.Minute

// newCluster starts three brokers, until the test ends.
func newCluster(t *testing.T) *Stack {
	t.Helper()
	if _, err := KafkaFound(); err != nil {
		t.Skipf("three brokers are not tested: %v", err)
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Root: root, Dir: t.TempDir(), PortShift: testShift, Broker: Kafka, Brokers: clusterSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	// One of 64 identities begins with a dash, which is no option.
	if err := errors.Join(os.MkdirAll(s.kafkaDir(), 0o755), os.WriteFile(filepath.Join(s.kafkaDir(), "cluster-id"), []byte("-0000000000000000000AA"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.startKafka(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Stack) clientOf(t *testing.T, user string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := s.KafkaClient(user, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Three brokers are as production's: one may be killed and nothing that was acknowledged is
// lost, with two away nothing is acknowledged, and users do what their scopes say.
func TestThreeBrokers(t *testing.T) {
	s := newCluster(t)
	const topic = "order.confirmed"
	t.Run("users", func(t *testing.T) { s.usersDoWhatTheirScopesSay(t) })
	t.Run("rights that are taken away", func(t *testing.T) { s.rightsEnd(t) })
	t.Run("topics by hand", func(t *testing.T) { s.topicsByHand(t) })
	t.Logf("memory: %s", s.memoryOf(t, s.BrokerParts()...))

	client := s.clientOf(t, "order", kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(patience))
	acknowledged := map[string]bool{}
	say := func(n int) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for i := range n {
			value := fmt.Sprintf("%d-%d", len(acknowledged), i)
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)}).FirstErr(); err != nil {
				return err
			}
			acknowledged[value] = true
		}
		return nil
	}
	const each = 50
	killed, err := s.LeaderOf(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := say(each); err != nil {
		t.Fatal(err)
	}
	if err := s.Process(killed).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := say(each); err != nil {
		t.Fatalf("with two brokers: %v", err)
	}

	// The second leaves in order, so that the third knows that it is alone and leads.
	second := s.BrokerParts()[0]
	if second == killed {
		second = s.BrokerParts()[1]
	}
	if err := s.Process(second).Stop(t.Context(), kafkaGrace); err != nil {
		t.Fatal(err)
	}
	// An idempotent producer would wait for its number first, which one broker does not give.
	alone := s.clientOf(t, "order", kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(), kgo.RecordDeliveryTimeout(5*time.Second))
	bounded, end := context.WithTimeout(t.Context(), 15*time.Second)
	defer end()
	if err := alone.ProduceSync(bounded, &kgo.Record{Topic: topic, Value: []byte("on one broker")}).FirstErr(); err == nil {
		t.Error("one broker acknowledged alone what would be lost with it")
	}

	if err := s.startKafka(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.AwaitReplicas(ctx); err != nil {
		t.Fatal(err)
	}
	reader := s.clientOf(t, "", kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for missing := acknowledged; len(missing) > 0; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d that were acknowledged are missing: %v", len(missing), 2*each, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { delete(missing, string(r.Value)) })
	}
}

func (s *Stack) usersDoWhatTheirScopesSay(t *testing.T) {
	for name, c := range map[string]struct {
		user, topic string
		want        error
	}{
		"its own topic":         {"order", "order.confirmed", nil},
		"another's topic":       {"order", "payment.completed", kerr.TopicAuthorizationFailed},
		"a topic it hears only": {"inventory", "order.confirmed", kerr.TopicAuthorizationFailed},
	} {
		client := s.clientOf(t, c.user, kgo.RecordDeliveryTimeout(patience))
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: c.topic, Value: []byte("said")}).FirstErr(); !errors.Is(err, c.want) {
			t.Errorf("%s publishes %s: %v, want %v", c.user, name, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		opts []kgo.Opt
		want error
	}{
		"what it hears":         {[]kgo.Opt{kgo.ConsumeTopics("order.confirmed"), kgo.ConsumerGroup("inventory")}, nil},
		"what it does not hear": {[]kgo.Opt{kgo.ConsumeTopics("payment.refunded")}, kerr.TopicAuthorizationFailed},
		"in another's group":    {[]kgo.Opt{kgo.ConsumeTopics("order.confirmed"), kgo.ConsumerGroup("checkout")}, kerr.GroupAuthorizationFailed},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		client := s.clientOf(t, "inventory", append(c.opts, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err := client.PollFetches(ctx).Err(); !errors.Is(err, c.want) {
			t.Errorf("inventory reads %s: %v, want %v", name, err, c.want)
		}
		cancel()
		client.Close()
	}
	if err := kafkaAnswers(s.kafka.nodes[0].brokers, s.clientTLS())(t.Context()); err == nil {
		t.Error("brokers answer each other's requests without a certificate")
	}
}

// A service that does not publish or hear a topic any more may not either, once it is granted what its
// scopes say now; others keep what is theirs.
func (s *Stack) rightsEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const user = "warehouse"
	if err := s.GrantKafka(ctx, user, []string{"order.confirmed", "payment.completed"}, []string{"order.cancelled"}); err != nil {
		t.Fatal(err)
	}
	say := func(user, topic string) error {
		client := s.clientOf(t, user, kgo.RecordDeliveryTimeout(patience))
		return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("said")}).FirstErr()
	}
	hear := func() error {
		client := s.clientOf(t, user, kgo.ConsumeTopics("order.cancelled"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err := s.kafkaSays(ctx, "order.cancelled"); err != nil {
			return err
		}
		return client.PollFetches(ctx).Err()
	}
	if err := errors.Join(say(user, "payment.completed"), hear()); err != nil {
		t.Fatalf("what it may do at first: %v", err)
	}
	if err := s.GrantKafka(ctx, user, []string{"order.confirmed"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := say(user, "order.confirmed"); err != nil {
		t.Errorf("what it still may: %v", err)
	}
	if err := say(user, "payment.completed"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("it still publishes: %v", err)
	}
	if err := hear(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("it still hears: %v", err)
	}
	if err := say("payment", "payment.completed"); err != nil {
		t.Errorf("who publishes that: %v", err)
	}
}

// kafkaSays publishes something with every right.
func (s *Stack) kafkaSays(ctx context.Context, topic string) error {
	client, err := s.KafkaClient("")
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("said")}).FirstErr()
}

func (s *Stack) memoryOf(t *testing.T, parts ...string) string {
	t.Helper()
	var list []string
	for _, part := range parts {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process(part).PID))
		if err != nil {
			t.Fatal(err)
		}
		_, rss, _ := strings.Cut(string(text), "VmRSS:")
		rss, _, _ = strings.Cut(rss, "\n")
		list = append(list, part+" "+strings.TrimSpace(rss))
	}
	return strings.Join(list, ", ")
}

func TestThreeBrokersAreOfKafkaAlone(t *testing.T) {
	for _, o := range []Options{{Brokers: 3}, {Broker: Kafka, Brokers: 2}, {Broker: OneProcess, Brokers: 3}} {
		o.Dir = t.TempDir()
		if _, err := New(o); err == nil {
			t.Errorf("%d brokers of %q were taken", o.Brokers, o.Broker)
		}
	}
	s, err := New(Options{Dir: t.TempDir(), Broker: Kafka, Brokers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.claimBroker(); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Dir: s.Dir})
	if err != nil || len(again.kafka.nodes) != 3 || !slices.Equal(again.BrokerParts(), []string{"kafka", "kafka-2", "kafka-3"}) {
		t.Errorf("the number is not remembered: %v, %v", again.BrokerParts(), err)
	}
	one, err := New(Options{Dir: s.Dir, Broker: Kafka, Brokers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*EnvironmentError](one.claimBroker()); !ok {
		t.Error("another number was taken while three are in use")
	}
}
