package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// minJava is what Kafka 4 runs on.
	minJava    = 17
	kafkaGrace = 20 * time.Second
)

// locateKafka decides between a private broker and the cluster that the variables
// of components/kafka name.
func (s *Stack) locateKafka() error {
	s.kafka.addr = s.addr(kafkaPort)
	brokers := os.Getenv("QUADRILLE_KAFKA_BROKERS")
	if brokers == "" {
		return nil
	}
	if os.Getenv("QUADRILLE_KAFKA_AUTH_TYPE") == "" {
		return errors.New("QUADRILLE_KAFKA_BROKERS wants QUADRILLE_KAFKA_AUTH_TYPE beside it (components/kafka/pubsub.yaml names the types)")
	}
	s.kafka.external = true
	s.kafka.addr, _, _ = strings.Cut(brokers, ",")
	return nil
}

// kafkaSecretNames are the variables of an external cluster that are secrets, by their
// key in the secret "broker".
var kafkaSecretNames = map[string]string{
	"username":   "QUADRILLE_KAFKA_USERNAME",
	"password":   "QUADRILLE_KAFKA_PASSWORD",
	"clientCert": "QUADRILLE_KAFKA_CLIENT_CERT",
	"clientKey":  "QUADRILLE_KAFKA_CLIENT_KEY",
}

func kafkaSecrets() map[string]string {
	secrets := map[string]string{}
	for key, name := range kafkaSecretNames {
		secrets[key] = os.Getenv(name)
	}
	return secrets
}

// kafkaEnv is what components/kafka asks for; that of an external cluster is in
// the environment already.
func (s *Stack) kafkaEnv() []string {
	if s.kafka.external {
		return nil
	}
	return []string{"QUADRILLE_KAFKA_BROKERS=" + s.kafka.addr, "QUADRILLE_KAFKA_AUTH_TYPE=none"}
}

// startKafka brings up a private broker of one node, unless there is a cluster.
func (s *Stack) startKafka(ctx context.Context) error {
	if s.kafka.external {
		if err := listening(s.kafka.addr)(ctx); err != nil {
			return &EnvironmentError{
				Problem: fmt.Sprintf("the Kafka of QUADRILLE_KAFKA_BROKERS does not answer: %v", err),
				Remedy:  "start it, correct the variable, or unset it for a private broker",
			}
		}
		s.report("kafka", Running, s.kafka.addr+" (QUADRILLE_KAFKA_BROKERS)")
		return nil
	}
	if s.alreadyRunning("kafka", s.kafka.addr) {
		return nil
	}
	java, err := s.installKafka(ctx)
	if err != nil {
		return err
	}
	config, err := s.writeKafkaConfig()
	if err != nil {
		return err
	}
	if err := s.formatKafka(ctx, java, config); err != nil {
		return err
	}
	return s.start(ctx, command{name: "kafka", args: s.kafkaMain(java, "kafka.Kafka", config), dir: s.Dir},
		s.kafka.addr, kafkaAnswers(s.kafka.addr))
}

func (s *Stack) kafkaLib() string { return filepath.Join(s.Root, ".local", "kafka", "lib") }

// kafkaStamp is a copy of the pom that the jars beside it were fetched for.
func (s *Stack) kafkaStamp() string { return filepath.Join(s.kafkaLib(), "pom.xml") }

func (s *Stack) kafkaDir() string { return filepath.Join(s.Dir, "kafka") }

// kafkaMain runs a main class of Kafka's. Its own scripts are not in the jars, and
// what matters of them is here: a heap for a broker that has little to do, and
// compiling lightly, which halves the start on a busy machine.
func (s *Stack) kafkaMain(java, class string, args ...string) []string {
	return append([]string{
		java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN",
		"-cp", filepath.Join(s.kafkaLib(), "*"), class,
	}, args...)
}

// installKafka fetches the broker that local/kafka/pom.xml pins, unless it is
// there, and returns the Java to run it with.
func (s *Stack) installKafka(ctx context.Context) (java string, err error) {
	if java, err = lookJava(); err != nil {
		return "", err
	}
	pom := filepath.Join(s.Root, "local", "kafka", "pom.xml")
	text, err := os.ReadFile(pom)
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(s.kafkaStamp()); err == nil && bytes.Equal(have, text) {
		return java, nil
	}
	if err := s.fetchKafka(ctx, pom); err != nil {
		return "", err
	}
	return java, os.WriteFile(s.kafkaStamp(), text, 0o644) //nolint:gosec // a path in our own folder
}

func (s *Stack) fetchKafka(ctx context.Context, pom string) error {
	maven, err := lookMaven()
	if err != nil {
		return err
	}
	began := time.Now()
	done := s.progress("kafka", "50 MB from Maven Central, the first time")
	defer done()
	if err := os.RemoveAll(s.kafkaLib()); err != nil { // of another version
		return err
	}
	cmd := exec.CommandContext(ctx, maven, "--batch-mode", "--quiet", "--file", pom,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+s.kafkaLib())
	if out, err := cmd.CombinedOutput(); err != nil {
		return &EnvironmentError{
			Problem: fmt.Sprintf("Maven could not fetch Kafka: %v\n%s", err, out),
			Remedy:  "see that Maven reaches Maven Central or a mirror (~/.m2/settings.xml)",
		}
	}
	s.reportEvent(Event{Part: "kafka", State: Built, Detail: s.kafkaLib(), Took: time.Since(began)})
	return nil
}

func lookJava() (string, error) {
	missing := &EnvironmentError{
		Problem: fmt.Sprintf("Kafka needs Java %d or newer", minJava),
		Remedy:  "install it (apt-get install openjdk-17-jre-headless maven), or name a cluster with QUADRILLE_KAFKA_BROKERS",
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", missing
	}
	out, err := exec.Command(java, "-version").CombinedOutput()
	_, version, _ := strings.Cut(string(out), ` version "`)
	var major int
	_, _ = fmt.Sscanf(version, "%d", &major) // 0 when it does not match
	if err != nil || major < minJava {
		return "", missing
	}
	return java, nil
}

func lookMaven() (string, error) {
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return "", &EnvironmentError{
			Problem: "Kafka is fetched with Maven, which is not installed",
			Remedy:  "install it (apt-get install maven), or name a cluster with QUADRILLE_KAFKA_BROKERS",
		}
	}
	return maven, nil
}

// writeKafkaConfig describes a cluster of one node, broker and controller at once.
func (s *Stack) writeKafkaConfig() (path string, err error) {
	if err := os.MkdirAll(s.kafkaDir(), 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(s.kafkaDir(), "server.properties")
	controller := s.addr(kafkaControllerPort)
	return path, os.WriteFile(path, fmt.Appendf(nil, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
log.dirs=%[3]s
# Topics are made when first used; more than one partition, so that keys matter and
# replicas of a service share the work as in production.
auto.create.topics.enable=true
num.partitions=3
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# A sidecar joins its group once per topic as it starts; nobody else is to come.
group.initial.rebalance.delay.ms=0
# As long as the streams of components/local.
log.retention.hours=168
`, s.kafka.addr, controller, s.kafkaData()), 0o644)
}

func (s *Stack) kafkaData() string { return filepath.Join(s.kafkaDir(), "data") }

// formatKafka gives an empty data folder the identity of a cluster, without which
// a broker refuses to start.
func (s *Stack) formatKafka(ctx context.Context, java, config string) error {
	if _, err := os.Stat(filepath.Join(s.kafkaData(), "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	args := s.kafkaMain(java, "kafka.tools.StorageTool", "format",
		"--config", config, "--cluster-id", base64.RawURLEncoding.EncodeToString(id[:]))
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("format Kafka's folder: %w\n%s", err, out)
	}
	return nil
}

// kafkaAnswers checks that a broker answers the first request of every client, for
// the versions it speaks.
func kafkaAnswers(addr string) func(context.Context) error {
	const apiVersions, correlation = 18, 1
	request := binary.BigEndian.AppendUint32(nil, 10) // the bytes that follow
	request = binary.BigEndian.AppendUint16(request, apiVersions)
	request = binary.BigEndian.AppendUint16(request, 0) // version of the request
	request = binary.BigEndian.AppendUint32(request, correlation)
	request = binary.BigEndian.AppendUint16(request, 0) // length of the client's name
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		var answer struct {
			Size, Correlation uint32
			Error             int16
		}
		if err := binary.Read(io.LimitReader(conn, 10), binary.BigEndian, &answer); err != nil {
			return err
		}
		if answer.Correlation != correlation || answer.Error != 0 {
			return fmt.Errorf("kafka answers %+v", answer)
		}
		return nil
	}
}
