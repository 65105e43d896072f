package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The brokers: two that are a folder below components each, and none, which has all
// services run in one process that carries the events by itself, without Dapr.
const (
	Redis      = "local"
	Kafka      = "kafka"
	OneProcess = "one-process"
)

// BrokerPart is the part that carries the events: "redis" or "kafka".
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

// brokerSecrets is what the pub/sub component takes from the secret store.
func (s *Stack) brokerSecrets() map[string]string {
	if s.opts.Broker == Kafka {
		return kafkaSecrets()
	}
	return map[string]string{"password": s.redis.password}
}

func (s *Stack) brokerCheck() partCheck {
	if s.opts.Broker != Kafka {
		return partCheck{"redis", s.redis.addr, s.redis.external, redisPong(s.redis.addr, s.redis.password)}
	}
	ready := kafkaAnswers(s.kafka.addr)
	if s.kafka.external { // which may want TLS
		ready = listening(s.kafka.addr)
	}
	return partCheck{"kafka", s.kafka.addr, s.kafka.external, ready}
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

// brokerInUse is the broker that the stack in dir was last started with, "" once it
// was stopped.
func brokerInUse(dir string) string {
	text, err := os.ReadFile(brokerFile(dir))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// claimBroker keeps the broker until the stack is stopped: sidecars on two brokers
// would not hear each other.
func (s *Stack) claimBroker() error {
	if used := brokerInUse(s.Dir); used != "" && used != s.opts.Broker {
		return &EnvironmentError{
			Problem: fmt.Sprintf("this stack was started with the broker %q", used),
			Remedy:  "let its orders settle and stop it first (quad down)",
		}
	}
	return os.WriteFile(brokerFile(s.Dir), []byte(s.opts.Broker+"\n"), 0o644)
}
