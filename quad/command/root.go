// Package command has the commands of quad that work on any installation.
package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

// Options are what the program adds to the commands.
type Options struct {
	// Local makes the context of the stack on this machine. Nil where the program knows none.
	Local func() (installation.Context, error)
	// Examine checks the machine and that stack, for quad doctor.
	Examine func(context.Context) ([]Finding, error)
	// Components is the folder of component files that the stack on this machine uses.
	Components func() (string, error)
	// Versions are those of other parts, by name.
	Versions map[string]string
}

// Globals are the flags that every command understands.
type Globals struct {
	JSON    bool
	Context string // "" is the file's current one

	opts Options
}

// New returns the root command and the flags of all commands below it.
func New(opts Options) (*cobra.Command, *Globals) {
	g := &Globals{opts: opts}
	root := &cobra.Command{
		Use:   "quad",
		Short: "Operate an installation of Quadrille",
		Long: `quad shows what happens in an installation of Quadrille, proves its books and changes
what operators change. A context says where the installation is: see quad context --help.

` + Environment,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          NoArgs,
		RunE:          help,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return UsageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.PersistentFlags().BoolVar(&g.JSON, "json", false, "print JSON for programs")
	root.PersistentFlags().StringVar(&g.Context, "context", "", "the installation that is meant (default: the current one of quad context ls)")
	root.AddCommand(
		newOrder(g), newStock(g), newCatalog(g), newB2B(g), newPayment(g), newParked(g), newErasure(g), writes(newImport(g)), newVerify(g),
		newExplain(g), newDoctor(g), newContext(g), newLogin(g), newLogout(g), newWhoami(g), newVersion(g),
	)
	return root, g
}

// Environment is the part of the help that concerns all commands.
const Environment = `Commands marked [writes] change something; the others only read.

Exit codes: 0 all well, 1 the thing asked about is not well, 2 wrong usage,
3 the machine or the context lacks something (the message says what to do about it).

QUADRILLE_CONFIG names the file of your contexts; NO_COLOR turns colours off.`

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// Main runs a command until it ends or is interrupted, and ends the process.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(fail(err))
	}
}

// Exit codes; the help of the root command explains them.
const (
	exitUnwell      = 1
	exitUsage       = 2
	exitEnvironment = 3
)

// fail prints the error and returns the exit code it stands for.
func fail(err error) int {
	if silent, ok := errors.AsType[Unwell](err); ok && silent.Said {
		return exitUnwell
	}
	fmt.Fprintln(os.Stderr, "quad:", output.Paint(os.Stderr, output.Red, err.Error()))
	if _, ok := errors.AsType[UsageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*installation.EnvironmentError](err); ok {
		return exitEnvironment
	}
	return exitUnwell
}

// Unwell says that the thing asked about is not well, which a command that printed
// its findings already has said.
type Unwell struct {
	Err  error
	Said bool
}

func (u Unwell) Error() string { return u.Err.Error() }

// UsageError is a command that was not given as it has to be.
type UsageError struct{ Err error }

func (u UsageError) Error() string { return u.Err.Error() }

// writing marks commands that change something.
const writing = "writes"

// writes marks a command that changes something, in its help too.
func writes(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{writing: "yes"}
	cmd.Short += " [writes]"
	return cmd
}

// choose returns the context that is meant. file is nil for the stack on this machine.
func (g *Globals) choose() (name string, c installation.Context, file *installation.File, err error) {
	if name = g.Context; name != installation.Local {
		path, err := installation.FilePath()
		if err == nil {
			file, err = installation.ReadFile(path)
		}
		if err != nil {
			return name, c, nil, err
		}
		if name == "" {
			name = file.Current
		}
	}
	if name == "" || name == installation.Local {
		c, err = g.local()
		return installation.Local, c, nil, err
	}
	c, err = file.Context(name)
	return name, c, file, err
}

func (g *Globals) local() (installation.Context, error) {
	if g.opts.Local == nil {
		return installation.Context{}, &installation.EnvironmentError{
			Problem: "no context is chosen, and only a checkout of Quadrille has the context local",
			Remedy:  "quad context add makes one; --context or quad context use chooses it",
		}
	}
	return g.opts.Local()
}

// open prepares the connections to the installation that is meant, and says which it is
// unless that is the stack on this machine. retryFor is that of api.New.
func (g *Globals) open(cmd *cobra.Command, retryFor time.Duration) (*installation.Installation, error) {
	name, c, file, err := g.choose()
	if err != nil {
		return nil, err
	}
	if c.ReadOnly && cmd.Annotations[writing] != "" {
		return nil, UsageError{fmt.Errorf("context %s is read_only, and %s changes something", name, cmd.CommandPath())}
	}
	if name != installation.Local && !g.JSON {
		fmt.Fprintln(os.Stderr, output.Paint(os.Stderr, output.Faint, "context "+name))
	}
	return installation.Open(name, c, installation.Options{File: file, RetryFor: retryFor}), nil
}

// with makes a command of something done with an installation.
func (g *Globals) with(do func(cmd *cobra.Command, in *installation.Installation, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		in, err := g.open(cmd, 0)
		if err != nil {
			return err
		}
		defer in.Close()
		return Explain(in, do(cmd, in, args))
	}
}

// Explain turns an error that a person cannot act upon into one that he can.
func Explain(in *installation.Installation, err error) error {
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusBadRequest {
		return UsageError{err}
	}
	return in.Explain(err)
}

// NoArgs is cobra.NoArgs with the exit code of a usage error.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return UsageError{fmt.Errorf("%s takes no argument %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}

// Exactly is for commands that take one argument of each of the names.
func Exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return UsageError{fmt.Errorf("%s takes %v, got %d arguments (see %s --help)", cmd.CommandPath(), names, len(args), cmd.CommandPath())}
		}
		return nil
	}
}

func parseID(what, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, UsageError{fmt.Errorf("%q is no id of an %s: that is a UUID such as 019aa0c2-…", text, what)}
	}
	return id, nil
}
