package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/local/stack"
)

const (
	// portShift keeps clear of the stack in daily use and of `quad test`.
	portShift      = 11_000
	kafkaPortShift = 13_000
	onePortShift   = 12_000
	startTimeout   = 15 * time.Minute // it builds the services, with the race detector
	stopTimeout    = 5 * time.Minute
)

// sys is the system under test; TestMain starts it.
var sys *system

// onKafka says that the same is to run on Kafka, in a folder and on ports of its
// own, so that it may run beside the other.
var onKafka = os.Getenv("QUADRILLE_TEST_BROKER") == stack.Kafka || onThreeBrokers

// onThreeBrokers says that Kafka has three brokers, with TLS, users and what these may do.
var onThreeBrokers = os.Getenv("QUADRILLE_TEST_BROKER") == stack.Kafka+"-3"

// byDebezium says that the events are published by Debezium, on Kafka.
var byDebezium = os.Getenv("QUADRILLE_TEST_RELAY") == stack.Debezium

// inOneProcess says that the same is to run with all services in one process.
var inOneProcess = os.Getenv("QUADRILLE_TEST_BROKER") == stack.OneProcess

func TestMain(m *testing.M) {
	flag.Parse()
	if only := flag.Lookup("test.run"); only.Value.String() == "" {
		switch { // any text will do
		case byDebezium:
			_ = only.Value.Set(debeziumTests())
		case onThreeBrokers:
			_ = only.Value.Set(threeBrokerTests)
		case onKafka:
			_ = only.Value.Set(kafkaTests())
		case inOneProcess:
			_ = only.Value.Set(oneProcessTests)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: start:", err)
		code = 1
	}
	if sys != nil {
		defer func() {
			if err := sys.stop(); err != nil {
				fmt.Fprintln(os.Stderr, "e2e: stop:", err)
				code = 1
			}
		}()
	}
	if code == 0 {
		code = m.Run()
	}
	return code
}

// start brings everything up. When interrupted, nothing is left running.
func start() error {
	for _, name := range []string{"QUADRILLE_POSTGRES", "QUADRILLE_REDIS", "QUADRILLE_KAFKA_BROKERS"} {
		// Servers that others use are not ours to kill.
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	var err error
	if sys, err = newSystem(); err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = sys.stop()
		os.Exit(1)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return sys.start(ctx)
}

// system is the stack with what the tests look at it through.
type system struct {
	*stack.Stack
	claimed *os.File // locked for as long as it is open
	spans   *collector
	books   *books
	http    *http.Client
}

// claim keeps a second run out, which would begin by ending this one's stack.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another run of these tests has %s; wait until it is done: %w", dir, err), file.Close())
	}
	return file, nil
}

func newSystem() (*system, error) {
	spans, err := startCollector()
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	opts := stack.Options{
		Root: root, Dir: filepath.Join(root, ".local", "e2e"), PortShift: portShift, Broker: stack.Redis,
		Services: stack.ForOrders,
		Env:      map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "200"},
	}
	if onKafka {
		opts.Dir, opts.PortShift, opts.Broker = opts.Dir+"-kafka", kafkaPortShift, stack.Kafka
	}
	if byDebezium {
		opts.Dir, opts.Relay = opts.Dir+"-debezium", stack.Debezium
	}
	if onThreeBrokers {
		opts.Dir, opts.Brokers = opts.Dir+"-3", 3
	}
	if inOneProcess {
		opts.Dir, opts.PortShift, opts.Broker = opts.Dir+"-one-process", onePortShift, stack.OneProcess
		if raceEnabled {
			opts.Program = filepath.Join(opts.Dir, "bin", stack.Together)
		}
	}
	claimed, err := claim(opts.Dir)
	if err != nil {
		return nil, err
	}
	st, err := stack.New(opts)
	if err != nil {
		return nil, err
	}
	return &system{Stack: st, claimed: claimed, spans: spans, http: &http.Client{
		Timeout:   time.Minute, // services answer sooner, as long as the machine does
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}}, nil
}

func (s *system) start(ctx context.Context) error {
	// Wiping also ends what a run that was killed has left.
	for _, step := range []func(context.Context) error{
		s.Wipe, s.BuildToolchain, s.build, s.UpInfra, s.startServices, s.openBooks,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build builds the services again, with the race detector if this test has it.
func (s *system) build(ctx context.Context) error {
	if err := s.Build(ctx); err != nil || !raceEnabled {
		return err
	}
	if inOneProcess {
		return s.buildWithRace(ctx, stack.Together, filepath.Join(s.Root, "services", "cmd", stack.Together))
	}
	for _, app := range s.Apps() {
		source, err := filepath.Glob(filepath.Join(s.Root, "*", app, "cmd", app, "main.go")) // in services or workflows
		if err != nil || len(source) != 1 {
			return fmt.Errorf("find the source of %s: %v %w", app, source, err)
		}
		if err := s.buildWithRace(ctx, app, filepath.Dir(source[0])); err != nil {
			return err
		}
		s.App(app).Command = []string{s.raceBinary(app)}
	}
	return nil
}

func (s *system) raceBinary(name string) string { return filepath.Join(s.Dir, "bin", name) }

func (s *system) buildWithRace(ctx context.Context, name, source string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "-o", s.raceBinary(name), ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// subscribers are the services that hear events; b2b only sends some.
func (s *system) subscribers() []string {
	return slices.DeleteFunc(s.Apps(), func(app string) bool { return app == b2b })
}

// startServices starts each process singly, so that each can be killed singly.
func (s *system) startServices(ctx context.Context) error {
	for _, app := range s.Apps() {
		if err := errors.Join(s.StartSidecar(ctx, app), s.StartApp(ctx, app)); err != nil {
			return err
		}
	}
	for _, app := range s.Apps() {
		if err := s.AwaitReady(ctx, app); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything and reports what the whole run must not have left: data
// races, and goroutines of the tests themselves.
func (s *system) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.Down(ctx)
	if s.books != nil {
		s.books.close()
	}
	s.http.CloseIdleConnections()
	return errors.Join(err, s.spans.stop(), s.races(), s.claimed.Close(),
		goleak.Find(goleak.IgnoreTopFunction("os/signal.loop"), goleak.IgnoreAnyFunction("quadrille.internal/local/e2e.start.func1")))
}

// races reports the logs in which the race detector speaks.
func (s *system) races() (err error) {
	logs, globErr := filepath.Glob(filepath.Join(s.LogDir(), "*.log"))
	if globErr != nil {
		return globErr
	}
	for _, log := range logs {
		text, readErr := os.ReadFile(log)
		if readErr != nil {
			return readErr
		}
		if strings.Contains(string(text), "DATA RACE") {
			err = errors.Join(err, fmt.Errorf("%s reports a data race", log))
		}
	}
	return err
}

// soak says whether there is time for more: QUADRILLE_SOAK=10 is ten times the load.
func soak() bool { return setting("QUADRILLE_SOAK", 0) > 0 }

// scaled is a number of orders, multiplied in a soak.
func scaled(n int) int { return n * max(1, setting("QUADRILLE_SOAK", 1)) }

// setting is a number from the environment.
func setting(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}
