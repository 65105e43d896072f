package host

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/service"
)

// The exit codes of Command.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

const usage = `%[1]s is a service of Quadrille. Its settings are environment variables.

usage:
  %[1]s [run]     run the service until SIGTERM
  %[1]s migrate   bring the database up to date, then end. It wants
                  QUADRILLE_MIGRATE_DATABASE_URL (or ..._URL_FILE), of the role that owns
                  the database, and QUADRILLE_DATABASE_ROLE, the role that the service
                  runs as (default: the user of QUADRILLE_DATABASE_URL)
`

const usageTogether = `%[1]s runs services of Quadrille in one process, without Dapr and without a broker.
Their settings are environment variables. QUADRILLE_PAYMENT_X is payment's X, and wins
over QUADRILLE_X, which is for all.

usage:
  %[1]s [run] [service ...]     run all services, or these, until SIGTERM
  %[1]s migrate [service ...]   bring their databases up to date, then end. It wants
                  QUADRILLE_<SERVICE>_MIGRATE_DATABASE_URL (or ..._URL_FILE), of the role
                  that owns the database, and QUADRILLE_<SERVICE>_DATABASE_ROLE, the role
                  that the service runs as (default: the user of
                  QUADRILLE_<SERVICE>_DATABASE_URL)

services: %[2]s
`

func (p program) usage() string {
	if p.several() {
		return fmt.Sprintf(usageTogether, p.name(), program{chosen: p.specs}.names())
	}
	return fmt.Sprintf(usage, p.name())
}

// keepInstalled drops the services that the installation does not have. Events are not
// kept for what will never run.
func (p *program) keepInstalled(lookup func(string) (string, bool)) error {
	list, _ := lookup(config.Installed)
	if list == "" || !p.several() {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if p.find(name) == nil {
			return fmt.Errorf("%s: there is no service %q", config.Installed, name)
		}
		names = append(names, name)
	}
	all := len(p.chosen) == len(p.specs)
	missing := func(s service.Spec) bool { return !slices.Contains(names, s.Name) }
	if i := slices.IndexFunc(p.chosen, missing); i >= 0 && !all {
		return fmt.Errorf("%s is not installed: %s is %q", p.chosen[i].Name, config.Installed, list)
	}
	p.specs = slices.DeleteFunc(slices.Clone(p.specs), missing)
	p.chosen = slices.DeleteFunc(slices.Clone(p.chosen), missing)
	return nil
}

// command is a parsed command line.
type command struct {
	program
	verb string
}

// parse reads a command line. An error is the user's.
func parse(specs []service.Spec, args []string) (command, error) {
	c := command{program{specs: specs, chosen: specs, shared: len(specs) > 1}, "run"}
	first := func() string { return args[0] }
	switch {
	case len(args) == 0:
	case first() == "run", first() == "migrate":
		c.verb, args = first(), args[1:]
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, first()):
		c.verb, args = "help", nil
	case !c.several() || c.find(first()) == nil:
		return c, fmt.Errorf("there is no command %q", first())
	}
	if len(args) == 0 {
		return c, nil
	}
	if !c.several() {
		return c, fmt.Errorf("%s takes no arguments, got %q", c.verb, args)
	}
	c.chosen = nil
	for _, name := range args {
		spec := c.find(name)
		if spec == nil {
			return c, fmt.Errorf("there is no service %q", name)
		}
		if !c.runs(name) {
			c.chosen = append(c.chosen, *spec)
		}
	}
	return c, nil
}

func (p program) find(name string) *service.Spec {
	i := slices.IndexFunc(p.specs, func(s service.Spec) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &p.specs[i]
}

// Command carries out a command line of a program with these services and returns the
// exit code.
func Command(
	ctx context.Context, specs []service.Spec, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer,
) int {
	c, err := parse(specs, args)
	if err == nil {
		err = c.keepInstalled(lookup)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n\n%s", c.name(), err, c.usage())
		return exitUsage
	}
	switch c.verb {
	case "help":
		fmt.Fprint(stdout, c.usage())
	case "migrate":
		err = c.migrateAll(ctx, lookup, &sharedWriter{w: stderr})
	default:
		err = run(ctx, c.program, lookup, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.name(), err)
		return exitFailed
	}
	return exitOK
}

// migrateAll migrates the databases of the services that have one, side by side. One that
// fails does not keep the others.
func (p program) migrateAll(ctx context.Context, lookup func(string) (string, bool), w io.Writer) error {
	p.chosen = slices.DeleteFunc(slices.Clone(p.chosen), func(s service.Spec) bool { return !s.HasDatabase() })
	reader := config.NewReader(lookup)
	migrations := make([]service.Migration, len(p.chosen))
	for i, spec := range p.chosen {
		migrations[i] = service.NewMigration(spec, p.reader(reader, spec), w)
	}
	if err := reader.Err(); err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	return sideBySide(len(p.chosen), func(i int) error {
		if err := migrations[i].Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.chosen[i].Name, err)
		}
		return nil
	})
}
