// Command quad runs Quadrille on one machine: it builds it, starts it, feeds it
// orders, shows what became of them, and stops it. It has the operator's commands too.
package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
)

func main() { command.Main(newRoot()) }

// globals are the flags every command understands.
type globals struct {
	*command.Globals
	dir string
}

func newRoot() *cobra.Command {
	var g globals
	root, common := command.New(command.Options{
		Local:      g.context,
		Examine:    g.examine,
		Components: g.components,
		Versions:   map[string]string{"dapr": stack.DaprVersion},
	})
	g.Globals = common
	root.AddCommand(newTraces())
	root.Short = "Run Quadrille on this machine"
	root.Long = `quad builds Quadrille and its pinned Dapr runtime, starts it with PostgreSQL and
Redis of its own below .local/, and stops it again. It also operates installations
elsewhere: see quad context --help.

QUADRILLE_REDIS (host:port) and QUADRILLE_POSTGRES (a superuser's URL) name
servers that already run.

` + command.Environment
	root.PersistentFlags().StringVar(&g.dir, "dir", "", "folder for data, logs and secrets of the local stack (default <repository>/.local)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return g.preferDir() }
	root.AddCommand(
		newUp(&g), newDown(&g), newMove(&g), newBuild(&g), newImages(&g), newGenerate(&g), newProto(&g), newTest(&g), newDemo(&g), newBench(&g),
		newSize(&g), newDeploy(&g),
	)
	return root
}

// preferDir makes --dir mean the local stack, whatever the current context is.
func (g *globals) preferDir() error {
	switch {
	case g.dir == "":
		return nil
	case g.Context != "" && g.Context != installation.Local:
		return command.UsageError{Err: fmt.Errorf("--dir is the folder of the local stack, and --context %s is another installation", g.Context)}
	}
	g.Context = installation.Local
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

// context is that of the stack, for the operator's commands.
func (g *globals) context() (installation.Context, error) {
	s, err := g.open(nil)
	if err != nil {
		return installation.Context{}, err
	}
	return s.Context(), nil
}

// components is the folder of component files that the stack uses. In one process there
// is none, and the services that move out of it use those of Redis.
func (g *globals) components() (string, error) {
	s, err := g.open(nil)
	if err != nil {
		return "", err
	}
	return s.Components(), nil
}

// connect prepares the connections to the stack; they are made when first used.
func (g *globals) connect() (*installation.Installation, error) {
	c, err := g.context()
	if err != nil {
		return nil, err
	}
	return installation.Open(installation.Local, c, installation.Options{}), nil
}
