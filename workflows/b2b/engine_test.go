package b2b

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/sqlite"
	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"quadrille.internal/platform/servicetest"
)

// engine is Dapr's own workflow engine, in memory and behind the same gRPC API as
// daprd's.
type engine struct {
	backend  backend.Backend
	executor backend.Executor
	conn     *grpc.ClientConn
	client   *workflow.Client
	server   *grpc.Server
	addr     string
	register func(grpc.ServiceRegistrar)
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	log := quiet{}
	e := &engine{backend: sqlite.NewSqliteBackend(sqlite.NewSqliteOptions(""), log)}
	e.executor, e.register = backend.NewGrpcExecutor(e.backend, log)
	hub := backend.NewTaskHubWorker(e.backend,
		backend.NewWorkflowWorker(backend.WorkflowWorkerOptions{Backend: e.backend, Executor: e.executor, Logger: log, AppID: "b2b"}),
		backend.NewActivityTaskWorker(e.backend, e.executor, log), log)
	ctx := context.WithoutCancel(t.Context())
	if err := hub.Start(ctx); err != nil {
		t.Fatal(err)
	}
	e.serve(t, "127.0.0.1:0")
	var err error
	e.conn, err = grpc.NewClient(e.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	e.client = workflow.NewClientWithLogger(e.conn, log)
	t.Cleanup(func() {
		_ = e.conn.Close()
		e.server.Stop()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = e.executor.Shutdown(ctx) // or the hub would wait for the worker that is gone
		_ = hub.Shutdown(ctx)
	})
	return e
}

// serve listens, as daprd does once it is started.
func (e *engine) serve(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	e.addr, e.server = ln.Addr().String(), grpc.NewServer()
	e.register(e.server)
	go func(s *grpc.Server) { _ = s.Serve(ln) }(e.server)
}

// work runs a worker on the engine until the test ends, or is stopped.
func (e *engine) work(t *testing.T, w *worker) (stop func()) {
	t.Helper()
	r, err := w.registry()
	if err != nil {
		t.Fatal(err)
	}
	return e.workAs(t, w, r)
}

// workAs runs a worker with other workflows than its own.
func (e *engine) workAs(t *testing.T, w *worker, r *workflow.Registry) (stop func()) {
	t.Helper()
	return servicetest.Run(t, func(ctx context.Context) error { w.serve(ctx, e.conn, r); return nil })
}

// history returns all that happened in a workflow.
func (e *engine) history(t *testing.T, id string) []*protos.HistoryEvent {
	t.Helper()
	answer, err := e.backend.GetInstanceHistory(t.Context(), &protos.GetInstanceHistoryRequest{InstanceId: id})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetEvents()
}

// execute replays a history in the connected worker and returns what it does next.
func (e *engine) execute(t *testing.T, id string, past, news []*protos.HistoryEvent) []*protos.WorkflowAction {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := e.executor.ExecuteWorkflow(ctx, api.InstanceID(id), past, news, backend.ExecuteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetActions()
}

// quiet is a logger for an engine whose every step is not worth reading.
type quiet struct{}

func (quiet) Debug(...any)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(...any)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(...any)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(...any)          {}
func (quiet) Errorf(string, ...any) {}
