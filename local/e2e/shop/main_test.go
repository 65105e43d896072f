// Package shop tests the whole system as customers use it: through the gateway, with every
// service, while parts of it are killed.
package shop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/local/stack"
)

const (
	// Ports of its own, as the other end-to-end tests run beside it.
	portShift      = 7_000
	kafkaPortShift = 6_000
	onePortShift   = 5_000
	startTimeout   = 10 * time.Minute // it builds the services
	stopTimeout    = 5 * time.Minute
)

// sys is the stack of these tests, and options how it was made.
var (
	sys     *stack.Stack
	options stack.Options
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
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
		fmt.Fprintln(os.Stderr, "shop:", err)
		code = 1
	}
	return code
}

func start() error {
	for _, name := range []string{"QUADRILLE_POSTGRES", "QUADRILLE_REDIS", "QUADRILLE_KAFKA_BROKERS"} {
		if err := os.Unsetenv(name); err != nil { // it kills servers
			return err
		}
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return err
	}
	options = stack.Options{Root: root, Dir: filepath.Join(root, ".local", "shop"), PortShift: portShift, Broker: stack.Redis, Trace: true}
	switch os.Getenv("QUADRILLE_TEST_BROKER") {
	case stack.Kafka:
		options.Dir, options.PortShift, options.Broker = options.Dir+"-kafka", kafkaPortShift, stack.Kafka
	case stack.OneProcess:
		options.Dir, options.PortShift, options.Broker = options.Dir+"-one-process", onePortShift, stack.OneProcess
	}
	if sys, err = stack.New(options); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	// Wiping also ends what a run that was killed has left.
	for _, step := range []func(context.Context) error{sys.Wipe, sys.BuildToolchain, sys.Build, sys.Up} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// soak says whether there is time for more.
func soak() bool { return os.Getenv("QUADRILLE_SOAK") != "" }

func stop() error {
	if sys == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(sys.Down(ctx), goleak.Find(goleak.IgnoreTopFunction("os/signal.loop"),
		goleak.IgnoreAnyFunction("quadrille.internal/local/e2e/shop.run.func1")))
}
