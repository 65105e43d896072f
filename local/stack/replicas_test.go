package stack

import (
	"errors"
	"os/exec"
	"slices"
	"testing"
)

// No two parts of a stack want one port, and the ports that others know stay.
func TestReplicasHavePortsOfTheirOwn(t *testing.T) {
	one, err := New(Options{Dir: t.TempDir(), PortShift: testShift})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Replicas: MaxReplicas})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Instances()); n != MaxReplicas*len(one.Apps()) {
		t.Fatalf("%d instances of %d services, want %d each", n, len(one.Apps()), MaxReplicas)
	}
	taken := map[int]string{}
	take := func(port int, by string) {
		if other := taken[port]; other != "" {
			t.Errorf("port %d is of %s and of %s", port, other, by)
		}
		taken[port] = by
	}
	for _, app := range s.Apps() {
		if s.HTTPURL(app) != one.HTTPURL(app) {
			t.Errorf("%s moved from %s to %s", app, one.HTTPURL(app), s.HTTPURL(app))
		}
		take(portOf(s.App(app).Public), "the balancer for "+app)
	}
	for _, instance := range s.Instances() {
		a := s.App(instance)
		for _, setting := range []string{"HTTP", "ADMIN", "HEALTH"} {
			take(portOf(a.Env["QUADRILLE_"+setting+"_ADDR"]), instance+" "+setting)
		}
		if grpc := portOf(a.Env["QUADRILLE_GRPC_ADDR"]); grpc != a.GRPCPort {
			t.Errorf("%s listens on %d, and its sidecar calls %d", instance, grpc, a.GRPCPort)
		}
		for _, port := range []int{a.GRPCPort, a.DaprHTTP, a.DaprGRPC, a.DaprInternal, a.DaprMetrics} {
			take(port, instance)
		}
	}
	for _, check := range s.partChecks() {
		if port := portOf(check.addr); taken[port] == "" {
			take(port, check.part)
		}
	}
}

func TestHowManyReplicas(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Dir: dir, PortShift: testShift, Replicas: 2})
	if err == nil {
		err = s.claimReplicas()
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Dir: dir, PortShift: testShift})
	if err != nil || again.Replicas() != 2 {
		t.Fatalf("a command that says nothing means %d replicas, %v; want those in use", again.Replicas(), err)
	}
	if other, err := New(Options{Dir: dir, PortShift: testShift, Replicas: 3}); err != nil || !isEnvironment(other.claimReplicas()) {
		t.Errorf("another number was taken (%v)", err)
	}
	for name, opts := range map[string]Options{"too many": {Replicas: 4}, "in one process": {Replicas: 2, Broker: OneProcess}} {
		opts.Dir, opts.PortShift = t.TempDir(), testShift
		if _, err := New(opts); !isEnvironment(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one, err := New(Options{Dir: dir, PortShift: testShift}); err != nil || one.Replicas() != 1 {
		t.Errorf("once stopped there are %d, %v; want 1", one.Replicas(), err)
	}
}

func isEnvironment(err error) bool {
	_, ok := errors.AsType[*EnvironmentError](err)
	return ok
}

// Both run one program. Without its pid file, a replica that died must not be taken for the
// other, or nobody starts it again.
func TestAReplicaIsNotTakenForTheFirst(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no program to run")
	}
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Replicas: 2})
	if err != nil {
		t.Fatal(err)
	}
	second := s.App("order-2")
	p, err := s.spawn(command{name: "order-2", args: []string{sleep, "60"}, dir: s.Dir, env: second.partEnv("order-2")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill(t.Context())
	if err := s.forgetRun(); err != nil {
		t.Fatal(err)
	}
	var names []string
	await(t, func() error { // the kernel may still be replacing the program, with its environment
		names = nil
		for _, found := range s.marked() {
			names = append(names, found.Name)
		}
		if len(names) == 0 {
			return errors.New("nothing was found")
		}
		return nil
	})
	if !slices.Equal(names, []string{"order-2"}) {
		t.Errorf("found %q, want order-2", names)
	}
}
