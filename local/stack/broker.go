package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// The brokers: two that are a folder below components each, and none, which has all
// services run in one process that carries the events by itself, without Dapr.
const (
	Redis      = "local"
	Kafka      = "kafka"
	OneProcess = "one-process"
)

// BrokerPart is the part that carries the events, "redis" or "kafka", or the first of them.
func (s *Stack) BrokerPart() string {
	if s.opts.Broker == Kafka {
		return "kafka"
	}
	return "redis"
}

func (s *Stack) startBroker(ctx context.Context) error {
	switch s.opts.Broker {
	case OneProcess:
		return nil
	case Kafka:
		return s.startKafka(ctx)
	default:
		return s.startRedis(ctx)
	}
}

// brokerEnv is what the pub/sub component takes from the environment: no secrets.
func (s *Stack) brokerEnv() []string {
	if s.opts.Broker == Kafka {
		return s.kafkaEnv()
	}
	return []string{"QUADRILLE_REDIS_HOST=" + s.redis.addr}
}

// brokerSecrets is what the pub/sub component of an app takes from the secret store.
func (s *Stack) brokerSecrets(app string) (map[string]string, error) {
	if s.opts.Broker == Kafka {
		return s.kafkaSecrets(app)
	}
	return map[string]string{"password": s.redis.password}, nil
}

func (s *Stack) brokerChecks() []partCheck {
	switch {
	case s.opts.Broker != Kafka:
		return []partCheck{{"redis", s.redis.addr, s.redis.external, redisPong(s.redis.addr, s.redis.password)}}
	case s.kafka.external: // which may want TLS
		return []partCheck{{"kafka", s.kafka.addr, true, listening(s.kafka.addr)}}
	}
	checks := make([]partCheck, len(s.kafka.nodes))
	for i, node := range s.kafka.nodes {
		checks[i] = partCheck{node.part, node.clients, false, s.kafkaReady(node.clients)}
	}
	return checks
}

// BrokerParts are all parts that carry the events: several where Kafka has several brokers.
func (s *Stack) BrokerParts() []string {
	checks := s.brokerChecks()
	parts := make([]string, len(checks))
	for i, check := range checks {
		parts[i] = check.part
	}
	return parts
}

// brokerFound names the broker that would be used, or what is missing.
func (s *Stack) brokerFound() (string, error) {
	switch {
	case s.OneProcess():
		return "no broker, all in one process", nil
	case s.opts.Broker == Kafka && s.kafka.external:
		return "Kafka named by QUADRILLE_KAFKA_BROKERS", nil
	case s.opts.Broker == Kafka:
		java, err := KafkaFound()
		return "Kafka on " + java, err
	case s.redis.external:
		return "Redis named by QUADRILLE_REDIS", nil
	}
	path, found := lookRedis()
	if !found {
		return "", &EnvironmentError{Problem: "Redis is not installed", Remedy: "quad up installs it when run by root on Debian; otherwise install redis-server"}
	}
	return "Redis " + path, nil
}

// KafkaFound returns the Java that a private Kafka runs on, or what it lacks.
func KafkaFound() (java string, err error) {
	if _, err := lookMaven(); err != nil {
		return "", err
	}
	return lookJava()
}

func brokerFile(dir string) string { return filepath.Join(dir, "run", "broker") }

// brokerInUse is the broker that the stack in dir was last started with, and how many of
// them; "" once it was stopped.
func brokerInUse(dir string) (broker string, brokers int) {
	text, err := os.ReadFile(brokerFile(dir))
	if err != nil {
		return "", 0
	}
	brokers = 1
	_, _ = fmt.Sscan(string(text), &broker, &brokers) // the number is left out where it is one
	return broker, brokers
}

// claimBroker keeps the broker until the stack is stopped: sidecars on two brokers
// would not hear each other.
func (s *Stack) claimBroker() error {
	if used, brokers := brokerInUse(s.Dir); used != "" && (used != s.opts.Broker || brokers != s.opts.Brokers) {
		return &EnvironmentError{
			Problem: fmt.Sprintf("this stack was started with %d of the broker %q", brokers, used),
			Remedy:  "let its orders settle and stop it first (quad down)",
		}
	}
	claim := s.opts.Broker
	if s.opts.Brokers > 1 {
		claim += fmt.Sprintf(" %d", s.opts.Brokers)
	}
	return os.WriteFile(brokerFile(s.Dir), []byte(claim+"\n"), 0o644)
}
