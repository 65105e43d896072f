// Command quad runs Quadrille on one machine: it builds it, starts it, feeds it
// orders, shows what became of them, and stops it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
)

// Exit codes; the help of the root command explains them.
const (
	exitUnwell      = 1
	exitUsage       = 2
	exitEnvironment = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return
	}
	stop()
	os.Exit(fail(err))
}

// fail prints the error and returns the exit code it stands for.
func fail(err error) int {
	if silent, ok := errors.AsType[unwell](err); ok && silent.said {
		return exitUnwell
	}
	fmt.Fprintln(os.Stderr, "quad:", paintErr(err))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*stack.EnvironmentError](err); ok {
		return exitEnvironment
	}
	return exitUnwell
}

// unwell says that the thing asked about is not well, which a command that printed
// its findings already has said.
type unwell struct {
	error
	said bool
}

type usageError struct{ error }

// globals are the flags every command understands.
type globals struct {
	json bool
	dir  string
}

func newRoot() *cobra.Command {
	var g globals
	root := &cobra.Command{
		Use:   "quad",
		Short: "Run Quadrille on this machine",
		Long: `quad builds Quadrille and its pinned Dapr runtime, starts it with PostgreSQL and
Redis of its own below .local/, and stops it again.

Exit codes: 0 all well, 1 the thing asked about is not well, 2 wrong usage,
3 the machine lacks something (the message says what to do about it).

QUADRILLE_REDIS (host:port) and QUADRILLE_POSTGRES (a superuser's URL) name
servers that already run; NO_COLOR turns colours off.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.PersistentFlags().BoolVar(&g.json, "json", false, "print JSON for programs")
	root.PersistentFlags().StringVar(&g.dir, "dir", "", "folder for data, logs and secrets (default <repository>/.local)")
	root.AddCommand(
		newUp(&g), newDown(&g), newDoctor(&g), newBuild(&g), newGenerate(&g), newTest(&g), newVersion(&g),
		newOrder(&g), newStock(&g), newB2B(&g), newPayment(&g), newParked(&g), newImport(&g), newVerify(&g), newDemo(&g), newBench(&g),
	)
	return root
}

// noArgs is cobra.NoArgs with the exit code of a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}

// open prepares the stack the flags ask for, whose progress goes to report.
func (g *globals) open(report func(stack.Event)) (*stack.Stack, error) {
	return g.openOn("", report)
}

// openOn is open for a stack with the given broker; "" is the one in use.
func (g *globals) openOn(broker string, report func(stack.Event)) (*stack.Stack, error) {
	return stack.New(stack.Options{Dir: g.dir, Broker: broker, Report: report})
}
