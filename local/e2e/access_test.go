package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	schedulerv1 "github.com/dapr/dapr/pkg/proto/scheduler/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/local/quad/stack"
)

// dial connects to a port of this machine without a certificate.
func dial(t *testing.T, port int) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// through is the context of a call that a service makes through its sidecar.
func (s *system) through(t *testing.T, callee string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "dapr-api-token", s.DaprAPIToken(), "dapr-app-id", callee)
}

// allocate asks inventory for stock; the service itself refuses the order's id, so
// InvalidArgument says that the call reached it.
func allocate(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := inventoryv1.NewAllocationsClient(conn).Allocate(ctx, &inventoryv1.AllocateRequest{
		OrderId: "nobody's", Lines: []*inventoryv1.Line{{Sku: "x", Quantity: 1}},
	})
	return err
}

func release(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := inventoryv1.NewAllocationsClient(conn).Release(ctx, &inventoryv1.ReleaseRequest{OrderId: "nobody's"})
	return err
}

// deliver hands a service no events, in the name of its sidecar.
func deliver(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := runtimev1.NewAppCallbackClient(conn).OnBulkTopicEvent(ctx, &runtimev1.TopicEventBulkRequest{
		PubsubName: "pubsub", Topic: "payment.completed",
	})
	return err
}

func TestAccess_OnlyB2BCallsInventory(t *testing.T) {
	s := sys
	for _, caller := range s.Apps() {
		want := codes.PermissionDenied
		if caller == b2b {
			want = codes.InvalidArgument
		}
		conn := dial(t, s.App(caller).DaprGRPC)
		for name, call := range map[string]func(context.Context, *grpc.ClientConn) error{"Allocate": allocate, "Release": release} {
			if err := call(s.through(t, "inventory"), conn); status.Code(err) != want {
				t.Errorf("%s calls %s of inventory: %v, want %s", caller, name, err, want)
			}
		}
	}
}

// A sidecar that forwards a call gives it the token by which its service knows it. So
// a call to the method that takes events would be believed, whoever made it.
func TestAccess_NobodyForgesEventsThroughSidecars(t *testing.T) {
	s := sys
	for _, caller := range s.Apps() {
		conn := dial(t, s.App(caller).DaprGRPC)
		for _, callee := range s.Apps() {
			if err := deliver(s.through(t, callee), conn); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s delivers events to %s: %v, want PermissionDenied", caller, callee, err)
			}
		}
	}
}

// What sidecars and the control plane say to each other is for those with a
// certificate only.
func TestAccess_InternalPortsWantACertificate(t *testing.T) {
	s := sys
	for _, app := range s.Apps() {
		err := deliver(s.through(t, app), dial(t, s.App(app).DaprInternal))
		if status.Code(err) != codes.Unavailable {
			t.Errorf("events delivered to %s at its sidecar's internal port: %v, want Unavailable", app, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := schedulerv1.NewSchedulerClient(dial(t, s.portOf(t, "scheduler"))).ListJobs(ctx, &schedulerv1.ListJobsRequest{
		Metadata: &schedulerv1.JobMetadata{AppId: b2b, Namespace: "default", Target: &schedulerv1.JobTargetMetadata{
			Type: &schedulerv1.JobTargetMetadata_Actor{Actor: &schedulerv1.TargetActorReminder{Type: "dapr.internal.default.b2b.workflow", Id: "x"}},
		}},
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the scheduler tells its jobs: %v, want Unavailable", err)
	}
}

// Whoever reads a service's environment, or its sidecar's, or asks the sidecar, gets
// no password of the broker or of the workflows' store.
func TestAccess_NobodyIsGivenTheBrokersPassword(t *testing.T) {
	s := sys
	var passwords []string
	for _, name := range []string{"redis", "workflow.password", "postgres"} {
		text, err := os.ReadFile(filepath.Join(s.Dir, "secrets", name))
		if err != nil {
			t.Fatal(err)
		}
		passwords = append(passwords, strings.TrimSpace(string(text)))
	}
	for _, app := range s.Apps() {
		for _, part := range []string{app, stack.Sidecar(app)} {
			pid := s.running(t, part).PID
			for _, file := range []string{"environ", "cmdline"} {
				for _, value := range procStrings(t, pid, file) {
					if slices.ContainsFunc(passwords, func(p string) bool { return strings.Contains(value, p) }) {
						name, _, _ := strings.Cut(value, "=")
						t.Errorf("%s has a password in its %s: %s", part, file, name)
					}
				}
			}
		}
		for _, path := range []string{"bulk", "redis-password", "state-url"} {
			a := s.ask(t, http.MethodGet, s.DaprURL(app)+"/v1.0/secrets/secrets/"+path,
				map[string]string{"dapr-api-token": s.DaprAPIToken()}, nil)
			if body := string(a.body); slices.ContainsFunc(passwords, func(p string) bool { return strings.Contains(body, p) }) {
				t.Errorf("the sidecar of %s tells secrets: %d", app, a.status)
			}
		}
	}
}

// Certificates last a day: what runs goes on without the authority that gave them, and
// only what starts has to wait for it.
func TestAccess_WorkGoesOnWhileSentryIsAway(t *testing.T) {
	s := sys
	c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500}, time.Hour)
	s.setStock(t, "without-sentry", map[string]int64{"leeds": 10})
	s.kill(t, "sentry")
	t.Cleanup(func() { s.revive(t) })
	s.expect(t, s.mustPlace(t, basketOf("without-sentry", 1, "tok_success")), confirmed(250))
	c.end(sagas{c.mustSubmit(1, 500): "completed"})

	s.revive(t)
	s.end(t, stack.Sidecar("inventory"), syscall.SIGTERM)
	s.revive(t)
	c.end(sagas{c.mustSubmit(1, 500): "completed"})
}

// An app that nobody thought of gets neither the broker nor the store, and if it is
// let in to the broker by mistake, it may still neither publish nor subscribe.
func TestAccess_StrangersGetNothing(t *testing.T) {
	s := sys
	// Even credentials that somebody gave it by mistake do not help.
	own, err := os.ReadFile(filepath.Join(s.Dir, "secrets", "sidecar", "checkout.json"))
	if err != nil {
		t.Fatal(err)
	}
	given := filepath.Join(s.Dir, "secrets", "sidecar", "stranger.json")
	if err := os.WriteFile(given, own, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(given) })
	for _, c := range []struct {
		name       string
		components string
		want       int
	}{
		{"kept out", s.components(), http.StatusNotFound},
		{"let in by mistake", s.unscoped(t), http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			sidecar := s.stranger(t, c.components)
			a := s.ask(t, http.MethodPost, sidecar+"/v1.0/publish/pubsub/order.confirmed",
				map[string]string{"dapr-api-token": s.DaprAPIToken()}, "{}")
			if a.status != c.want {
				t.Errorf("publishes: %d %s, want %d", a.status, a.body, c.want)
			}
		})
	}
}

func (s *system) components() string {
	broker := stack.Redis
	if onKafka {
		broker = stack.Kafka
	}
	return filepath.Join(s.Root, "components", broker)
}

// unscoped is a copy of the components that any app may load.
func (s *system) unscoped(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"pubsub.yaml", "secrets.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.components(), file))
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ = bytes.Cut(text, []byte("\nscopes:"))
		if err := os.WriteFile(filepath.Join(dir, file), append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stranger starts a sidecar of an app that nobody knows, until the test ends.
func (s *system) stranger(t *testing.T, components string) (url string) {
	t.Helper()
	const raise = 50
	cmd := s.twin(t, stack.Sidecar("checkout"), raise)
	for flag, value := range map[string]string{"--app-id": "stranger", "--resources-path": components} {
		cmd.Args[slices.Index(cmd.Args, flag)+1] = value
	}
	// It has no app, so it waits for none.
	i := slices.Index(cmd.Args, "--app-port")
	cmd.Args = slices.Delete(cmd.Args, i, i+2)
	startTwin(t, cmd)
	url = raised(s.DaprURL("checkout"), raise)
	eventually(t, readyTimeout, "stranger's sidecar", func(ctx context.Context) error {
		a, err := s.send(ctx, http.MethodGet, url+"/v1.0/healthz/outbound", nil, nil)
		if err == nil && a.status/100 != 2 {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
	return url
}

// healthPorts are on every address: Dapr 1.18 ignores the one it is given for the health
// of its control plane. They tell nothing else.
var healthPorts = []int{18951, 18963, 18971}

// All that listens does so for this machine only.
func TestAccess_NothingListensBeyondThisMachine(t *testing.T) {
	s := sys
	parts := []string{"placement", "scheduler", "sentry", "psp", "erp", s.BrokerPart(), "postgres"}
	for _, app := range s.Apps() {
		parts = append(parts, app, stack.Sidecar(app))
	}
	for _, part := range parts {
		out, err := exec.CommandContext(t.Context(), "ss", "-Hltnp").Output()
		if err != nil {
			t.Skip("there is no ss")
		}
		pid := fmt.Sprintf("pid=%d,", s.running(t, part).PID)
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) < 6 || !strings.Contains(fields[5], pid) {
				continue
			}
			host, port, err := net.SplitHostPort(fields[3])
			if err != nil {
				t.Fatal(err)
			}
			number, _ := strconv.Atoi(port)
			health := slices.Contains(healthPorts, number-s.shift())
			if !health && !net.ParseIP(host).IsLoopback() {
				t.Errorf("%s listens on %s", part, fields[3])
			}
		}
	}
}

// shift is what this stack's ports are raised by.
func (s *system) shift() int {
	if onKafka {
		return kafkaPortShift
	}
	return portShift
}

// portOf is where a part of the infrastructure listens.
func (s *system) portOf(t *testing.T, part string) int {
	t.Helper()
	for _, status := range s.Status(t.Context()) {
		if status.Part == part {
			_, port, err := net.SplitHostPort(status.Address)
			n, convErr := strconv.Atoi(port)
			if err := errors.Join(err, convErr); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no part %q", part)
	return 0
}
