package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What publishes the events of the outboxes: the services themselves, or Debezium, which
// reads them by logical decoding and needs Kafka.
const (
	OutboxRelay = "outbox"
	Debezium    = "debezium"
)

const (
	// connect is the part that runs Debezium: a worker of Kafka Connect.
	connect = "connect"
	// relayRole may read the outboxes and the server's log, and nothing else.
	relayRole    = "relay"
	connectGrace = 60 * time.Second
	// connectPatience bounds the start of the worker, and of all connectors: 6 s each on a
	// quiet machine, much more on a busy one.
	connectPatience = 4 * time.Minute
)

// logicalConf is added to PostgreSQL's settings where slots are read. A slot whose reader
// is away keeps the log: up to here, so that the disk does not fill. Beyond it the slot is
// lost, and services publish by themselves.
const logicalConf = `
wal_level = logical
max_replication_slots = 40
max_wal_senders = 40
max_slot_wal_keep_size = '1GB'
`

// ByDebezium reports whether Debezium publishes what services commit.
func (s *Stack) ByDebezium() bool { return s.opts.Relay == Debezium }

func relayFile(dir string) string { return filepath.Join(dir, "run", "relay") }

// relayInUse is that of the stack in dir, "" once it was stopped.
func relayInUse(dir string) string {
	text, err := os.ReadFile(relayFile(dir))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// chooseRelay has the services know who publishes.
func (s *Stack) chooseRelay() error {
	switch {
	case s.opts.Relay == OutboxRelay:
		return nil
	case s.opts.Relay != Debezium:
		return fmt.Errorf("there is no relay %q; there are %s and %s", s.opts.Relay, OutboxRelay, Debezium)
	case s.opts.Broker != Kafka:
		return fmt.Errorf("the relay %s publishes to Kafka: add --broker %s", Debezium, Kafka)
	case s.opts.Brokers > 1:
		return fmt.Errorf("the relay %s is started here for one broker only, which asks for no credentials", Debezium)
	}
	for _, app := range s.WithDatabase() {
		s.App(app).Env["QUADRILLE_RELAY"] = Debezium
	}
	return nil
}

// claimRelay keeps the relay until the stack is stopped: PostgreSQL writes another log for
// each.
func (s *Stack) claimRelay() error {
	if used := relayInUse(s.Dir); used != "" && used != s.opts.Relay {
		return &EnvironmentError{
			Problem: fmt.Sprintf("this stack was started with the relay %q", used),
			Remedy:  "stop it first (quad down); what is in the outboxes is published after the next start",
		}
	}
	return os.WriteFile(relayFile(s.Dir), []byte(s.opts.Relay+"\n"), 0o644)
}

func (s *Stack) connectURL() string { return "http://" + s.addr(connectPort) }

func (s *Stack) connectCheck() partCheck {
	return partCheck{connect, s.addr(connectPort), false, httpOK(s.connectURL() + "/connectors")}
}

// startConnect starts the worker and a connector for each service with a database, and
// waits until all of them read.
func (s *Stack) startConnect(ctx context.Context) error {
	if !s.ByDebezium() {
		return nil
	}
	if s.kafka.external && os.Getenv("QUADRILLE_KAFKA_AUTH_TYPE") != "none" {
		return &EnvironmentError{
			Problem: "Connect is started here only for a Kafka that asks for no credentials",
			Remedy:  "run Connect beside the cluster (docs/operating.md, Debezium as the relay)",
		}
	}
	if err := s.prepareSlots(ctx); err != nil {
		return err
	}
	if !s.alreadyRunning(connect, s.connectURL()) {
		if err := s.spawnConnect(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for _, app := range s.WithDatabase() {
		// A worker that has just lost its broker or database takes its time, and may be asked again.
		if err := poll(ctx, func(ctx context.Context) error { return s.putConnector(ctx, app) }); err != nil {
			return err
		}
	}
	for _, app := range s.WithDatabase() {
		if err := poll(ctx, func(ctx context.Context) error { return s.connectorReads(ctx, app) }); err != nil {
			return fmt.Errorf("connector of %s: %w; see %s", app, err, s.LogFile(connect))
		}
	}
	s.reportEvent(Event{Part: "connectors", State: Running, Detail: strings.Join(s.WithDatabase(), ", "), Took: time.Since(began)})
	return nil
}

func (s *Stack) spawnConnect(ctx context.Context) error {
	java, err := s.installConnect(ctx)
	if err != nil {
		return err
	}
	config, err := s.writeConnectConfig()
	if err != nil {
		return err
	}
	return s.start(ctx, command{name: connect, dir: s.Dir, patience: connectPatience, args: []string{
		java, partProperty + connect, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN",
		"-cp", filepath.Join(s.connectDir(), "lib", "*"), "org.apache.kafka.connect.cli.ConnectDistributed", config,
	}}, s.addr(connectPort), httpOK(s.connectURL()+"/connectors"))
}

func (s *Stack) connectDir() string { return filepath.Join(s.Root, ".local", connect) }

// installConnect packages local/connect, unless that is done, and returns the Java to run
// it with.
func (s *Stack) installConnect(ctx context.Context) (java string, err error) {
	if java, err = lookJava(); err != nil {
		return "", err
	}
	maven, err := lookMaven()
	if err != nil {
		return "", err
	}
	source := filepath.Join(s.Root, "local", connect)
	stamp, err := hashOf(source)
	if err != nil {
		return "", err
	}
	stampFile := filepath.Join(s.connectDir(), "stamp")
	if have, err := os.ReadFile(stampFile); err == nil && string(have) == stamp {
		return java, nil
	}
	if err := DebeziumFound(); err != nil {
		return "", err
	}
	began := time.Now()
	done := s.progress(connect, "40 MB from Maven Central, the first time")
	defer done()
	if err := os.RemoveAll(s.connectDir()); err != nil { // of another version
		return "", err
	}
	cmd := exec.CommandContext(ctx, maven, "--batch-mode", "--quiet", "--file", filepath.Join(source, "pom.xml"),
		"package", "dependency:copy-dependencies", "-DincludeScope=runtime", "-Dout="+s.connectDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &EnvironmentError{
			Problem: fmt.Sprintf("Maven could not package Kafka Connect: %v\n%s", err, out),
			Remedy:  "see that Maven reaches Maven Central or a mirror (~/.m2/settings.xml)",
		}
	}
	s.reportEvent(Event{Part: connect, State: Built, Detail: s.connectDir(), Took: time.Since(began)})
	return java, os.WriteFile(stampFile, []byte(stamp), 0o644)
}

// DebeziumFound reports what the machine lacks to package and run Debezium.
func DebeziumFound() error {
	if _, err := KafkaFound(); err != nil {
		return err
	}
	if _, err := exec.LookPath("javac"); err != nil {
		return &EnvironmentError{
			Problem: "the partitioner of local/connect is compiled, and there is no Java compiler",
			Remedy:  "install it (apt-get install openjdk-17-jdk-headless)",
		}
	}
	return nil
}

// hashOf tells the files of a folder from others.
func hashOf(dir string) (string, error) {
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintln(hash, path, len(text))
		hash.Write(text)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)), err
}

// writeConnectConfig describes the worker. It works in transactions: what it tells
// PostgreSQL to have is then what Kafka has. Without them a connector confirms the record
// that was acknowledged last, though one before it, on another partition, may not be yet;
// killed at that moment it would never send that one.
func (s *Stack) writeConnectConfig() (path string, err error) {
	if err := s.writeSecret(relayRole+".properties", "password="+s.passwords[relayRole]); err != nil {
		return "", err
	}
	path = filepath.Join(s.Dir, "run", "connect.properties")
	return path, os.WriteFile(path, fmt.Appendf(nil, `bootstrap.servers=%s
group.id=quadrille-connect
exactly.once.source.support=enabled
listeners=HTTP://%s
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=quadrille-connect-configs
config.storage.replication.factor=1
offset.storage.topic=quadrille-connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic=quadrille-connect-status
status.storage.replication.factor=1
status.storage.partitions=1
# The password of the connectors is read from a file: their settings lie in a topic.
config.providers=file
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
config.providers.file.param.allowed.paths=%s
# Nobody else is to come.
scheduled.rebalance.max.delay.ms=0
# A worker that could not read its settings from the broker for a while waits five minutes otherwise.
worker.unsync.backoff.ms=1000
# Each connector has a producer.
producer.buffer.memory=8388608
`, s.kafka.addr, s.addr(connectPort), filepath.Join(s.Dir, "secrets")), 0o644)
}
