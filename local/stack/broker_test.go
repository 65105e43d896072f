package stack

import (
	"errors"
	"slices"
	"testing"
)

func TestAStackKeepsItsBrokerUntilItIsStopped(t *testing.T) {
	s, _ := newStack(t)
	if err := s.claimBroker(); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Dir: s.Dir, PortShift: testShift})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.claimBroker(); err != nil || again.BrokerPart() != "redis" {
		t.Errorf("again: %v, broker %s", err, again.BrokerPart())
	}
	other, err := New(Options{Dir: s.Dir, PortShift: testShift, Broker: Kafka})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*EnvironmentError](other.claimBroker()); !ok {
		t.Error("a second broker was taken")
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.claimBroker(); err != nil {
		t.Errorf("once stopped: %v", err)
	}
	remembered, err := New(Options{Dir: s.Dir, PortShift: testShift})
	if err != nil {
		t.Fatal(err)
	}
	if remembered.BrokerPart() != "kafka" {
		t.Errorf("broker %s, want the one in use", remembered.BrokerPart())
	}
}

func TestKafkaFromTheEnvironment(t *testing.T) {
	t.Setenv("QUADRILLE_KAFKA_BROKERS", "one.example:9092,two.example:9092")
	if _, err := New(Options{Dir: t.TempDir(), Broker: Kafka}); err == nil {
		t.Error("a cluster was taken without its kind of authentication")
	}
	t.Setenv("QUADRILLE_KAFKA_AUTH_TYPE", "password")
	s, err := New(Options{Dir: t.TempDir(), Broker: Kafka})
	if err != nil {
		t.Fatal(err)
	}
	if check := s.brokerChecks()[0]; !check.external || check.addr != "one.example:9092" || len(s.brokerEnv()) != 0 {
		t.Errorf("%+v with environment %q", check, s.brokerEnv())
	}
}

func TestSidecarsLearnOfThePrivateKafka(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Broker: Kafka})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"QUADRILLE_KAFKA_BROKERS=127.0.0.1:18092", "QUADRILLE_KAFKA_AUTH_TYPE=none"}
	if env := s.brokerEnv(); !slices.Equal(env, want) {
		t.Errorf("environment %q, want %q", env, want)
	}
}

func TestKafkaWithoutJavaOrMavenNamesTheRemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, look := range map[string]func() (string, error){"java": lookJava, "maven": lookMaven, "kafka": KafkaFound, "debezium": func() (string, error) { return "", DebeziumFound() }} {
		_, err := look()
		if missing, ok := errors.AsType[*EnvironmentError](err); !ok || missing.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
