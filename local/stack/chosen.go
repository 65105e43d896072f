package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// identity is the service that says who callers are.
const identity = "identity"

// ForOrders are the services that take part in orders, of customers and of companies. A
// benchmark or a test of these alone starts no others.
var ForOrders = []string{"checkout", "inventory", "payment", "order", "b2b"}

// gateway is the service whose public port is the only one where the stack has it.
const gateway = "gateway"

// closed says that an app has no public port of its own: the gateway's is the way in.
func (a *App) closed() bool { return a.Env[publicPort] == "closed" }

const publicPort = "QUADRILLE_PUBLIC_PORT"

// chooseServices keeps of the run file the services that the stack has.
func (s *Stack) chooseServices() error {
	chosen, all := s.opts.Services, s.Apps()
	if len(chosen) == 0 {
		return nil
	}
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return fmt.Errorf("%w: %q; there are %s", ErrUnknownService, name, strings.Join(all, ", "))
		}
	}
	if !slices.Contains(chosen, identity) {
		// Callers are not asked for access tokens that nobody gives them.
		for _, app := range s.run.Apps {
			delete(app.Env, "QUADRILLE_IDENTITY_URL")
		}
	}
	if !slices.Contains(chosen, gateway) {
		for _, app := range s.run.Apps {
			delete(app.Env, publicPort) // or nobody would reach them
		}
	}
	s.run.Apps = slices.DeleteFunc(s.run.Apps, func(app App) bool { return !slices.Contains(chosen, app.ID) })
	if s.opts.Services = s.Apps(); len(s.opts.Services) == len(all) {
		s.opts.Services = nil
	}
	return nil
}

func servicesFile(dir string) string { return filepath.Join(dir, "run", "services") }

// servicesInUse are those that the stack in dir was last started with, nil where it has
// all. inUse is false once it was stopped.
func servicesInUse(dir string) (services []string, inUse bool) {
	text, err := os.ReadFile(servicesFile(dir))
	return strings.Fields(string(text)), err == nil
}

// claimServices keeps the choice until the stack is stopped: the other commands, and a
// second start, then mean the same services.
func (s *Stack) claimServices() error {
	text := strings.Join(s.opts.Services, " ")
	used, err := os.ReadFile(servicesFile(s.Dir))
	if err == nil && string(used) != text {
		return &EnvironmentError{
			Problem: "this stack was started with " + describe(string(used)),
			Remedy:  "let its orders settle and stop it first (quad down)",
		}
	}
	return os.WriteFile(servicesFile(s.Dir), []byte(text), 0o644)
}

func describe(services string) string {
	if services == "" {
		return "all services"
	}
	return "the services " + services
}
