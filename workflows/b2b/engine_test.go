package b2b

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend"
	answers "github.com/dapr/durabletask-go/backend/local"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/workflowengine"
)

// engine is what runs b2b's workflows in one process, on the service's own database.
type engine struct {
	pool   *pgxpool.Pool
	conn   *switched
	client *workflow.Client
	stop   func()
}

// switched is a connection to the engine of the moment, as one to daprd is.
type switched struct {
	now atomic.Pointer[grpc.ClientConnInterface]
}

// Invoke calls the engine.
func (s *switched) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return (*s.now.Load()).Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a stream of the engine.
func (s *switched) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return (*s.now.Load()).NewStream(ctx, desc, method, opts...)
}

func startEngine(t *testing.T, pool *pgxpool.Pool) *engine {
	t.Helper()
	e := &engine{pool: pool, conn: &switched{}}
	e.client = workflow.NewClientWithLogger(e.conn, quiet{})
	e.start(t)
	return e
}

// start runs an engine until the test ends, or is stopped.
func (e *engine) start(t *testing.T) {
	t.Helper()
	engine, err := workflowengine.New(workflowengine.Config{Name: "b2b", Pool: e.pool, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	conn := engine.Conn()
	e.conn.now.Store(&conn)
	e.stop = servicetest.Run(t, engine.Run)
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
	answer, err := e.client.GetInstanceHistory(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Events
}

// replayer hands histories to a worker, without an engine that would have to live
// through them.
type replayer struct{ executor backend.Executor }

// answering is the part of a backend that replaying needs.
type answering struct {
	*answers.TasksBackend
	unused
}

type unused struct{ backend.Backend }

func startReplayer(t *testing.T, w *worker) *replayer {
	t.Helper()
	executor, register := backend.NewGrpcExecutor(&answering{TasksBackend: answers.NewTasksBackend()}, quiet{})
	conn := servicetest.ServeCalls(t, register)
	servicetest.Run(t, func(ctx context.Context) error { return w.run(ctx, conn) })
	return &replayer{executor}
}

// execute replays a history in the worker and returns what it does next.
func (r *replayer) execute(t *testing.T, id string, past, news []*protos.HistoryEvent) []*protos.WorkflowAction {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := r.executor.ExecuteWorkflow(ctx, api.InstanceID(id), past, news, backend.ExecuteOptions{})
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
