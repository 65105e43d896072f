package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"quadrille.internal/quad/components"
)

const (
	// minJava is what Kafka 4 runs on.
	minJava    = 17
	kafkaGrace = 60 * time.Second
)

// locateKafka decides between a private broker and the cluster that the variables
// of components/kafka name.
func (s *Stack) locateKafka() error {
	s.kafka.nodes = s.kafkaNodes()
	s.kafka.addr = s.kafka.nodes[0].clients
	brokers := os.Getenv("QUADRILLE_KAFKA_BROKERS")
	if brokers == "" {
		return nil
	}
	if os.Getenv("QUADRILLE_KAFKA_AUTH_TYPE") == "" {
		return errors.New("QUADRILLE_KAFKA_BROKERS wants QUADRILLE_KAFKA_AUTH_TYPE beside it (components/kafka/pubsub.yaml names the types)")
	}
	if s.opts.Brokers > 1 {
		return errors.New("QUADRILLE_KAFKA_BROKERS names a cluster that runs already: leave out --brokers, or unset the variable")
	}
	s.kafka.external = true
	s.kafka.addr, _, _ = strings.Cut(brokers, ",")
	return nil
}

// kafkaSecretNames are the variables of an external cluster that are secrets, by their
// key in the secret "broker".
var kafkaSecretNames = map[string]string{ //nolint:gosec // names of variables, no credentials
	"username":   "QUADRILLE_KAFKA_USERNAME",
	"password":   "QUADRILLE_KAFKA_PASSWORD",
	"clientCert": "QUADRILLE_KAFKA_CLIENT_CERT",
	"clientKey":  "QUADRILLE_KAFKA_CLIENT_KEY",
}

// kafkaSecrets are those of an app: of a private cluster a user of its own, of an
// external one what the environment says.
func (s *Stack) kafkaSecrets(app string) (map[string]string, error) {
	secrets := map[string]string{}
	if s.kafkaSecured() {
		password, err := s.secret(kafkaPasswordFile(app))
		secrets["username"], secrets["password"] = app, password
		return secrets, err
	}
	for key, name := range kafkaSecretNames {
		secrets[key] = os.Getenv(name)
	}
	return secrets, nil
}

// kafkaEnv is what components/kafka asks for; that of an external cluster is in
// the environment already.
func (s *Stack) kafkaEnv() []string {
	if s.kafka.external {
		return nil
	}
	env := []string{"QUADRILLE_KAFKA_BROKERS=" + strings.Join(s.kafkaAddrs(), ",")}
	if !s.kafkaSecured() {
		return append(env, "QUADRILLE_KAFKA_AUTH_TYPE=none")
	}
	return append(env, "QUADRILLE_KAFKA_AUTH_TYPE=password", "QUADRILLE_KAFKA_SASL_MECHANISM=SHA-512",
		"QUADRILLE_KAFKA_CA_CERT="+string(s.kafka.authority))
}

// startKafka brings up the private brokers that do not run, unless there is a cluster.
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
	var missing []kafkaNode
	for _, node := range s.kafka.nodes {
		if !s.alreadyRunning(node.part, node.clients) {
			missing = append(missing, node)
		}
	}
	if err := s.startKafkaNodes(ctx, missing); err != nil || !s.kafkaSecured() {
		return err
	}
	return s.provisionKafka(ctx)
}

// startKafkaNodes starts brokers side by side: no one is ready before most of them are.
func (s *Stack) startKafkaNodes(ctx context.Context, nodes []kafkaNode) error {
	if len(nodes) == 0 {
		return nil
	}
	java, err := s.installKafka(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.kafkaDir(), 0o755); err != nil {
		return err
	}
	cluster, err := s.kafkaCluster()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		group.Go(func() error {
			config, err := s.writeKafkaConfig(node)
			if err != nil {
				return err
			}
			if err := s.formatKafka(ctx, java, config, cluster, node); err != nil {
				return err
			}
			return s.start(ctx, command{name: node.part, args: s.kafkaMain(java, node, "kafka.Kafka", config), dir: s.Dir},
				node.clients, s.kafkaReady(node.clients))
		})
	}
	return group.Wait()
}

func (s *Stack) kafkaLib() string { return filepath.Join(s.Root, ".local", "kafka", "lib") }

// kafkaStamp is a copy of the pom that the jars beside it were fetched for.
func (s *Stack) kafkaStamp() string { return filepath.Join(s.kafkaLib(), "pom.xml") }

func (s *Stack) kafkaDir() string { return filepath.Join(s.Dir, "kafka") }

// kafkaMain runs a main class of Kafka's. Its own scripts are not in the jars, and
// what matters of them is here: a heap for a broker that has little to do, and
// compiling lightly, which halves the start on a busy machine.
func (s *Stack) kafkaMain(java string, node kafkaNode, class string, args ...string) []string {
	return append([]string{
		java, partProperty + node.part, "-Xmx" + node.heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN",
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

// writeKafkaConfig describes a node, broker and controller at once.
func (s *Stack) writeKafkaConfig(node kafkaNode) (path string, err error) {
	topics, err := s.kafkaTopicSettings()
	if err != nil {
		return "", err
	}
	voters := make([]string, len(s.kafka.nodes))
	for i, n := range s.kafka.nodes {
		voters[i] = fmt.Sprintf("%d@%s", n.id, n.controllers)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `process.roles=broker,controller
node.id=%d
controller.quorum.voters=%s
log.dirs=%s
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# A sidecar joins its group once per topic as it starts; nobody else is to come.
group.initial.rebalance.delay.ms=0
# By default half of the heap, for topics that are compacted, which only Kafka's own are.
log.cleaner.dedupe.buffer.size=4194304
`, node.id, strings.Join(voters, ","), s.kafkaData(node))
	if s.kafkaSecured() {
		b.WriteString(s.securedListeners(node))
	} else {
		fmt.Fprintf(&b, `controller.listener.names=CONTROLLER
listeners=PLAINTEXT://%s,CONTROLLER://%s
# Topics are made when first used.
auto.create.topics.enable=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
`, node.clients, node.controllers)
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		fmt.Fprintf(&b, "%s=%s\n", name, topics[name])
	}
	path = filepath.Join(s.kafkaDir(), node.part+".properties")
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// kafkaTopicSettings are those of components/kafka, with as many replicas as there are
// brokers at most.
func (s *Stack) kafkaTopicSettings() (map[string]string, error) {
	folder, err := components.Read(filepath.Join(s.Root, "components", Kafka))
	if err != nil {
		return nil, err
	}
	settings := maps.Clone(folder.Topics)
	if len(s.kafka.nodes) == 1 {
		settings["default.replication.factor"], settings["min.insync.replicas"] = "1", "1"
	}
	return settings, nil
}

// kafkaData is where a node keeps its events.
func (s *Stack) kafkaData(node kafkaNode) string {
	if !s.kafkaSecured() {
		return filepath.Join(s.kafkaDir(), "data")
	}
	return filepath.Join(s.kafkaDir(), fmt.Sprintf("data-%d", node.id))
}

// kafkaCluster is the identity of the cluster, the same for all nodes.
func (s *Stack) kafkaCluster() (id string, err error) {
	path := filepath.Join(s.kafkaDir(), "cluster-id")
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return string(text), err
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	id = base64.RawURLEncoding.EncodeToString(random[:])
	return id, os.WriteFile(path, []byte(id), 0o644)
}

// formatKafka gives an empty data folder the identity of the cluster, without which
// a broker refuses to start.
func (s *Stack) formatKafka(ctx context.Context, java, config, cluster string, node kafkaNode) error {
	if _, err := os.Stat(filepath.Join(s.kafkaData(node), "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	args := s.kafkaMain(java, node, "kafka.tools.StorageTool", "format", "--config", config, "--cluster-id="+cluster) // may begin with a dash
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("format the folder of %s: %w\n%s", node.part, err, out)
	}
	return nil
}

// kafkaReady checks that a private broker answers.
func (s *Stack) kafkaReady(addr string) func(context.Context) error {
	if !s.kafkaSecured() {
		return kafkaAnswers(addr, nil)
	}
	return kafkaAnswers(addr, s.clientTLS())
}

// kafkaAnswers checks that a broker answers the first request of every client, for
// the versions it speaks. secured is nil where it has no TLS.
func kafkaAnswers(addr string, secured *tls.Config) func(context.Context) error {
	const apiVersions, correlation = 18, 1
	request := binary.BigEndian.AppendUint32(nil, 10) // the bytes that follow
	request = binary.BigEndian.AppendUint16(request, apiVersions)
	request = binary.BigEndian.AppendUint16(request, 0) // version of the request
	request = binary.BigEndian.AppendUint32(request, correlation)
	request = binary.BigEndian.AppendUint16(request, 0) // length of the client's name
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		dial := (&net.Dialer{}).DialContext
		if secured != nil {
			dial = (&tls.Dialer{Config: secured}).DialContext
		}
		conn, err := dial(ctx, "tcp", addr)
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
