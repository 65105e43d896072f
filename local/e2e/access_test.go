package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	internalsv1 "github.com/dapr/dapr/pkg/proto/internals/v1"
	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	schedulerv1 "github.com/dapr/dapr/pkg/proto/scheduler/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/local/stack"
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
	ctx, cancel := context.WithTimeout(t.Context(), soon)
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

// list asks inventory for a page of stock, of a size that the service itself refuses.
func list(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := inventoryv1.NewStockSnapshotClient(conn).ListStock(ctx, &inventoryv1.ListStockRequest{PageSize: -1})
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

// Inventory serves its snapshot, and no service is declared to call it yet.
func TestAccess_NobodyListsStock(t *testing.T) {
	s := sys
	for _, caller := range s.Apps() {
		if err := list(s.through(t, "inventory"), dial(t, s.App(caller).DaprGRPC)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s lists stock: %v, want PermissionDenied", caller, err)
		}
	}
	_, port, err := net.SplitHostPort(s.App("inventory").Env["QUADRILLE_GRPC_ADDR"])
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, number)
	for token, want := range map[string]codes.Code{s.APIToken(): codes.InvalidArgument, "wrong": codes.Unauthenticated} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "dapr-api-token", token)
		if err := list(ctx, conn); status.Code(err) != want {
			t.Errorf("inventory itself answers %v, want %s", err, want)
		}
	}
}

// A sidecar that forwards a call gives it the token by which its service knows it. So
// a call to the method that takes events would be believed, no matter who made it.
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

// A call that an app makes to a sidecar's own internal service is forwarded like any
// other, and the callee's sidecar takes it for one of another sidecar. Access control
// looks at calls of services only, so b2b's workflows have a policy of their own.
func TestAccess_NobodyCommandsWorkflowsThroughSidecars(t *testing.T) {
	s := sys
	c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500}, time.Hour)
	id := c.mustSubmit(1, 20_000)
	c.awaitStatus("awaiting_approval", id)
	calls := map[string]*internalsv1.InternalInvokeRequest{
		"ends": internalsv1.NewInternalInvokeRequest("AddWorkflowEvent").
			WithActor("dapr.internal.default.b2b.workflow", id.String()).WithData(executionTerminated),
		"purges": internalsv1.NewInternalInvokeRequest("PurgeWorkflowState").
			WithActor("dapr.internal.default.b2b.workflow", id.String()),
		"answers an activity of": internalsv1.NewInternalInvokeRequest("Execute").
			WithActor("dapr.internal.default.b2b.activity", id.String()+"::1::1"),
	}
	var all sync.WaitGroup
	for _, caller := range s.subscribers() { // all but b2b
		sidecars := internalsv1.NewServiceInvocationClient(dial(t, s.App(caller).DaprGRPC))
		ctx := s.through(t, b2b)
		all.Go(func() {
			for what, call := range calls {
				if _, err := sidecars.CallActor(ctx, call); status.Code(err) != codes.PermissionDenied {
					t.Errorf("%s %s a workflow of b2b: %v, want PermissionDenied", caller, what, err)
				}
			}
			_, err := sidecars.CallActorReminder(ctx, &internalsv1.Reminder{
				ActorType: "dapr.internal.default.b2b.workflow", ActorId: id.String(), Name: "new-event-forged",
			})
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s reminds a workflow of b2b: %v, want PermissionDenied", caller, err)
			}
		})
	}
	all.Wait()
	if err := c.mustCount(t.Context(), id, "ann", "approve"); err != nil {
		t.Fatal(err)
	}
	c.end(sagas{id: "completed"})
}

// executionTerminated is the event that ends a workflow, as durabletask has it: field 5,
// empty.
var executionTerminated = []byte{5<<3 | 2, 0}

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
	ctx, cancel := context.WithTimeout(t.Context(), soon)
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

// healthPorts are on every address: Dapr 1.18 ignores the one it is given for the health
// of its control plane. They tell nothing else.
var healthPorts = []int{18951, 18963, 18971}

// All that listens does so for this machine only.
func TestAccess_NothingListensBeyondThisMachine(t *testing.T) {
	s := sys
	parts := []string{"placement", "scheduler", "sentry", "psp", "erp", "mail", s.BrokerPart(), "postgres"}
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
	switch {
	case onKafka:
		return kafkaPortShift
	case inOneProcess:
		return onePortShift
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
