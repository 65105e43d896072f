package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"quadrille.internal/platform/config"
)

// MaxReplicas is for how many of each service there are ports.
const MaxReplicas = 3

const (
	// A second and a third replica have a block of ports each, in the order of local/dapr.yaml.
	replicaPort, replicaPorts = 18650, 8
	lastReplicaPort           = 18889

	// ownPort is where the first replica listens instead of on the port that others know,
	// counted from that: the balancer is there.
	ownPort = 4
	// drain is for how long a replica that stops says so and works on. The balancer looks
	// four times a second, and a busy machine is late.
	drain = "4s"

	balancer = "balancer"
	// partOf tells a further replica from the first, in its environment.
	partOf = "QUADRILLE_STACK_PART"
)

// Replicas is how many of each service there are.
func (s *Stack) Replicas() int { return max(1, s.opts.Replicas) }

// Instances are the processes of the services, by part name: the first of a service is
// called like it, others have a number behind.
func (s *Stack) Instances() []string {
	var names []string
	for _, app := range s.Apps() {
		names = append(names, s.InstancesOf(app)...)
	}
	return names
}

// InstancesOf are the replicas of a service.
func (s *Stack) InstancesOf(app string) []string {
	names := []string{app}
	for i := range s.further {
		if s.further[i].ID == app {
			names = append(names, s.further[i].Part)
		}
	}
	return names
}

// chooseReplicas takes the number in use where none is asked for.
func (o *Options) chooseReplicas() error {
	if o.Replicas == 0 && o.Broker != OneProcess {
		o.Replicas = replicasInUse(o.Dir)
	}
	switch {
	case o.Replicas > MaxReplicas:
		return &EnvironmentError{Problem: fmt.Sprintf("%d replicas of each service are too many", o.Replicas), Remedy: fmt.Sprintf("ask for %d at most", MaxReplicas)}
	case o.Replicas > 1 && o.Broker == OneProcess:
		return &EnvironmentError{Problem: "in one process each service is there once", Remedy: "start replicas with --broker local or kafka"}
	}
	return nil
}

// addReplicas moves the first instance of each service off the ports that others know, and
// adds the others. positions are those of all services in local/dapr.yaml.
func (s *Stack) addReplicas(positions map[string]int) error {
	s.further = nil
	if s.Replicas() == 1 {
		return nil
	}
	for i := range s.run.Apps {
		first := &s.run.Apps[i]
		first.Public = first.Env["QUADRILLE_HTTP_ADDR"]
		for n := 2; n <= s.Replicas(); n++ {
			port := replicaPort + ((n-2)*len(positions)+positions[first.ID])*replicaPorts
			if port+replicaPorts-1 > lastReplicaPort {
				return fmt.Errorf("there are no ports left for replica %d of %s", n, first.ID)
			}
			s.further = append(s.further, first.replica(n, port+s.opts.PortShift))
		}
		first.Env["QUADRILLE_HTTP_ADDR"] = s.addr(portOf(first.Public) - s.opts.PortShift + ownPort)
	}
	for _, instance := range s.Instances() {
		env := s.App(instance).Env
		// The gateway's limits are for all of its replicas, and so are routes that are changed.
		env[config.Drain], env["QUADRILLE_REPLICAS"], env["QUADRILLE_ROUTES_FILE"] = drain, strconv.Itoa(s.Replicas()), s.routesFile()
	}
	return nil
}

// replica is a further instance, on ports from the given one on.
func (a *App) replica(n, port int) App {
	r := *a
	r.Part, r.Public, r.Env = fmt.Sprintf("%s-%d", a.ID, n), "", maps.Clone(a.Env)
	for i, setting := range []string{"HTTP", "GRPC", "ADMIN", "HEALTH"} {
		r.Env["QUADRILLE_"+setting+"_ADDR"] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i))
	}
	r.GRPCPort, r.DaprHTTP, r.DaprGRPC, r.DaprInternal, r.DaprMetrics = port+1, port+4, port+5, port+6, port+7
	return r
}

// partEnv names a process that its program does not.
func (a *App) partEnv(part string) []string {
	if a.Part == "" {
		return nil
	}
	return []string{partOf + "=" + part}
}

// startReplicas starts every instance by itself: `dapr run -f` has no replicas. The first
// ones are ready before the second ones start, or a small machine would be busy for too long.
func (s *Stack) startReplicas(ctx context.Context) error {
	if !slices.ContainsFunc(s.serviceParts(), func(part string) bool { return s.Process(part) != nil }) {
		if err := s.servicesCanStart(); err != nil {
			return err
		}
	}
	if err := s.startBalancer(ctx); err != nil {
		return err
	}
	for n := range s.Replicas() {
		for _, app := range s.Apps() {
			instance := s.InstancesOf(app)[n]
			if err := errors.Join(s.StartSidecar(ctx, instance), s.StartApp(ctx, instance)); err != nil {
				return err
			}
		}
		for _, app := range s.Apps() {
			if err := s.AwaitReady(ctx, s.InstancesOf(app)[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// balanced is the port that the balancer opens last.
func (s *Stack) balanced() string {
	apps := slices.DeleteFunc(s.Apps(), func(app string) bool { return s.App(app).closed() })
	return s.App(apps[len(apps)-1]).Public
}

func (s *Stack) startBalancer(ctx context.Context) error {
	last := s.balanced()
	if s.alreadyRunning(balancer, last) {
		return nil
	}
	args := []string{s.bin(balancer)}
	for _, app := range s.Apps() {
		if s.App(app).closed() && app != identity { // whose keys the others ask for
			continue
		}
		var replicas []string
		for _, instance := range s.InstancesOf(app) {
			env := s.App(instance).Env
			replicas = append(replicas, env["QUADRILLE_HTTP_ADDR"]+"@"+env["QUADRILLE_HEALTH_ADDR"])
		}
		args = append(args, "-front", s.App(app).Public+"="+strings.Join(replicas, ","))
	}
	return s.start(ctx, command{name: balancer, args: args, dir: s.Dir}, last, listening(last))
}

// Replace ends an instance and its sidecar and starts by's in its place, in the order of a
// rolling upgrade: the service says that it stops and works on for a while, then ends, and its
// sidecar, which publishes for it, last. by may be the stack itself, or another release's with
// the same folder; the sidecar's components are always those of s.
func (s *Stack) Replace(ctx context.Context, instance string, by *Stack) error {
	if err := s.stopPart(ctx, instance, syscall.SIGTERM, serviceGrace); err != nil {
		return fmt.Errorf("stop %s: %w", instance, err)
	}
	if err := s.stopPart(ctx, Sidecar(instance), syscall.SIGTERM, sidecarGrace); err != nil {
		return fmt.Errorf("stop the sidecar of %s: %w", instance, err)
	}
	return errors.Join(s.StartSidecar(ctx, instance), by.StartApp(ctx, instance), by.AwaitReady(ctx, instance))
}

func (s *Stack) routesFile() string { return filepath.Join(s.Dir, "run", "routes.json") }

func replicasFile(dir string) string { return filepath.Join(dir, "run", "replicas") }

// replicasInUse is how many the stack in dir was last started with, 0 once it was stopped.
func replicasInUse(dir string) int {
	text, err := os.ReadFile(replicasFile(dir))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // we wrote it
	return n
}

// claimReplicas keeps the number until the stack is stopped.
func (s *Stack) claimReplicas() error {
	if used := replicasInUse(s.Dir); used != 0 && used != s.Replicas() {
		return &EnvironmentError{
			Problem: fmt.Sprintf("this stack was started with %d replicas of each service", used),
			Remedy:  "stop it first (quad down)",
		}
	}
	return os.WriteFile(replicasFile(s.Dir), fmt.Appendln(nil, s.Replicas()), 0o644)
}
