package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/local/stack"
)

const (
	// Ports of its own, as the end-to-end tests run beside it.
	portShift      = 9_000
	kafkaPortShift = 8_000
	startTimeout   = 10 * time.Minute // it builds the services
	stopTimeout    = 5 * time.Minute
)

// suiteApps are the services that the suite has.
var suiteApps = []string{"payment", "order", "inventory", "b2b", "gateway"}

// sys is a stack whose services do not run: the suite takes their places beside their
// sidecars. It is nil where nothing runs over Dapr.
var sys *stack.Stack

var broker = os.Getenv("QUADRILLE_TEST_BROKER")

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if broker == stack.OneProcess {
		return m.Run() // which says that it skips
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = stop() // nothing is left running
		os.Exit(1)
	}()
	err := start()
	if err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, stop()); err != nil {
		fmt.Fprintln(os.Stderr, "transport:", err)
		code = 1
	}
	return code
}

func start() error {
	for _, name := range []string{"QUADRILLE_POSTGRES", "QUADRILLE_REDIS", "QUADRILLE_KAFKA_BROKERS"} {
		// The suite publishes what nobody else is to hear.
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return err
	}
	opts := stack.Options{Root: root, Dir: filepath.Join(root, ".local", "transport"), PortShift: portShift, Broker: stack.Redis,
		Services: append(slices.Clone(stack.ForOrders), "gateway")}
	if broker == stack.Kafka {
		opts.Dir, opts.PortShift, opts.Broker = opts.Dir+"-kafka", kafkaPortShift, stack.Kafka
	}
	if sys, err = stack.New(opts); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	// Wiping also ends what a run that was killed has left.
	for _, step := range []func(context.Context) error{sys.Wipe, sys.BuildToolchain, sys.Build, sys.UpInfra} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, app := range suiteApps {
		if err := sys.StartSidecar(ctx, app); err != nil {
			return err
		}
	}
	return os.Setenv("QUADRILLE_TEST_POSTGRES", sys.SuperuserURL())
}

func stop() error {
	if sys == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(sys.Down(ctx), goleak.Find(goleak.IgnoreTopFunction("os/signal.loop"),
		goleak.IgnoreAnyFunction("quadrille.internal/local/e2e/transport.run.func1")))
}
