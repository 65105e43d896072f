package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const topicsFile = "deploy/platform/kafka/topics.yaml"

// topicsByHand has the script of deploy/README.md make topics, as an administrator and as a user
// who may not. Each call of Kafka's command takes seconds, so that only some of the topics are made
// outside of a soak.
func (s *Stack) topicsByHand(t *testing.T) {
	t.Helper()
	documents := regexp.MustCompile(`(?m)^---\n`).Split(s.readFile(t, topicsFile), -1)[1:]
	if os.Getenv("QUADRILLE_SOAK") == "" {
		documents = []string{documents[0], documents[len(documents)-1]} // an event, and what was given up on
	}
	want := make(map[string]string) // partitions, replicas and retention, by topic
	var names []string
	for _, text := range documents {
		of := regexp.MustCompile(`(?s)\n  name: (\S+)\n.*\n  partitions: (\d+)\n  replicas: (\d+)\n.*retention.ms: (\d+)`).FindStringSubmatch(text)
		if of == nil {
			t.Fatalf("%s has the topic\n%s", topicsFile, text)
		}
		names, want[of[1]] = append(names, of[1]), strings.Join(of[2:], " ")
	}
	s.removeTopics(t, names)
	s.awaitTopics(t, names, 0)
	dir := t.TempDir()
	write(t, filepath.Join(dir, topicsFile), strings.Join(documents, "---\n"))

	if out, err := s.runTopicsScript(t, dir, s.kafka.nodes[0].clients, s.propertiesOf(t, "order")); err == nil {
		t.Errorf("a service's user makes topics: %s", out)
	}
	s.awaitTopics(t, names, 0) // a broker may still have to hear that they were removed
	for range 2 {              // the second changes nothing
		if out, err := s.runTopicsScript(t, dir, s.kafka.nodes[0].brokers, s.propertiesOf(t, "")); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.awaitTopics(t, names, len(want))
		for name, is := range s.topicsNow(t, names) {
			if is != want[name] {
				t.Errorf("%s has partitions, replicas and retention %s, want %s", name, is, want[name])
			}
		}
	}
}

func (s *Stack) readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// runTopicsScript runs what deploy/README.md says for a Kafka without Strimzi, in a folder that has
// the manifests, with Kafka's command as its distribution has it.
func (s *Stack) runTopicsScript(t *testing.T, dir, broker, properties string) (out []byte, err error) {
	t.Helper()
	_, script, _ := strings.Cut(s.readFile(t, "deploy/README.md"), "**Kafka without Strimzi.**")
	_, script, _ = strings.Cut(script, "```sh\n")
	script, _, found := strings.Cut(script, "```")
	if !found {
		t.Fatal("deploy/README.md has no script for topics")
	}
	java, err := lookJava()
	if err != nil {
		t.Fatal(err)
	}
	command := "#!/bin/sh\nexec '" + java + "' -Xmx64m -XX:TieredStopAtLevel=1 -Dlog4j2.level=OFF -cp '" + s.kafkaLib() + "/*' org.apache.kafka.tools.TopicCommand \"$@\"\n"
	write(t, filepath.Join(dir, "bin", "kafka-topics.sh"), command)
	write(t, filepath.Join(dir, "admin.properties"), properties)
	if err := os.Chmod(filepath.Join(dir, "bin", "kafka-topics.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "KAFKA="+broker, "ADMIN=admin.properties")
	return cmd.CombinedOutput()
}

// propertiesOf are how a user connects, or "" who may do everything.
func (s *Stack) propertiesOf(t *testing.T, user string) string {
	t.Helper()
	trust := "ssl.truststore.type=PEM\nssl.truststore.location=" + s.secretFile(authorityCert) + "\ndefault.api.timeout.ms=120000\n"
	if user == "" {
		return trust + "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location=" + s.secretFile(brokerCert) + "\n"
	}
	password, err := s.secret(kafkaPasswordFile(user))
	if err != nil {
		t.Fatal(err)
	}
	return trust + "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n" +
		"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + user + "\" password=\"" + password + "\";\n"
}

func (s *Stack) removeTopics(t *testing.T, names []string) {
	t.Helper()
	err := s.kafkaAdmin(func(admin *kadm.Client) error {
		removed, err := admin.DeleteTopics(t.Context(), names...)
		for _, r := range removed {
			if !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
				err = errors.Join(err, r.Err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitTopics waits until all brokers know so many of the topics.
func (s *Stack) awaitTopics(t *testing.T, names []string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := poll(ctx, func(context.Context) error {
		if there := s.topicsNow(t, names); len(there) != want {
			return fmt.Errorf("there are %v of the topics %v, want %d", there, names, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// topicsNow are partitions, replicas and retention of those of the topics that there are.
func (s *Stack) topicsNow(t *testing.T, names []string) map[string]string {
	t.Helper()
	made := make(map[string]string)
	err := s.kafkaAdmin(func(admin *kadm.Client) error {
		topics, err := admin.ListTopics(t.Context())
		if err != nil {
			return err
		}
		for _, topic := range topics {
			if !slices.Contains(names, topic.Topic) {
				continue
			}
			configs, err := admin.DescribeTopicConfigs(t.Context(), topic.Topic)
			if err != nil {
				return err
			}
			if errors.Is(configs[0].Err, kerr.UnknownTopicOrPartition) {
				continue // one broker has heard of its end, another has not
			}
			if configs[0].Err != nil {
				return configs[0].Err
			}
			set := make(map[string]string)
			for _, c := range configs[0].Configs {
				set[c.Key] = c.MaybeValue()
			}
			if set["min.insync.replicas"] != "2" {
				t.Errorf("%s wants %s replicas in sync", topic.Topic, set["min.insync.replicas"])
			}
			made[topic.Topic] = strings.Join([]string{
				strconv.Itoa(len(topic.Partitions)), strconv.Itoa(topic.Partitions.NumReplicas()), set["retention.ms"],
			}, " ")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}
