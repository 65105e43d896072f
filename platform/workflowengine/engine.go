// Package workflowengine runs workflows in one process, without Dapr: the engine that
// daprd has inside (durabletask-go), on tables in the service's own database. The
// service uses it through a gRPC connection, as it uses daprd, and its workflows and
// activities are the same code.
//
// A service with workflows has Tables among its migrations.
package workflowengine

import (
	"cmp"
	"context"
	_ "embed" // for Tables
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/dapr/durabletask-go/backend"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/transport"
)

// Tables is the migration that makes the engine's tables. A service with workflows has
// a copy among its own, under the next number.
//
//go:embed tables.sql
var Tables string

const (
	connBuffer  = 256 << 10
	sendTimeout = 10 * time.Second
	// maxMessage bounds a history, which travels whole at each turn.
	maxMessage = 4 << 20
)

// Config of an Engine. Zero values mean the defaults.
type Config struct {
	// Name is the app id.
	Name string
	// Pool is the service's own.
	Pool *pgxpool.Pool
	Log  *slog.Logger
	// Workflows and Activities are how many turns and activities run at once. Default
	// 128, as with Dapr; the rest waits its turn.
	Workflows, Activities int
	// Lease is for how long a process that says nothing keeps its turns and activities.
	// Default 5 s.
	Lease time.Duration
	// Poll is how often the engine looks for what no wake-up told it of: timers, and
	// what another process left. Default 500 ms.
	Poll time.Duration
	// KeepCompleted and KeepFailed are for how long histories of ended workflows are
	// kept. Default 24 h and 720 h, as with Dapr.
	KeepCompleted, KeepFailed time.Duration
}

func (c Config) withDefaults() Config {
	c.Workflows = cmp.Or(c.Workflows, 128)
	c.Activities = cmp.Or(c.Activities, 128)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.Poll = cmp.Or(c.Poll, 500*time.Millisecond)
	c.KeepCompleted = cmp.Or(c.KeepCompleted, 24*time.Hour)
	c.KeepFailed = cmp.Or(c.KeepFailed, 720*time.Hour)
	return c
}

// Engine runs workflows. Run must be running for it to work.
type Engine struct {
	cfg     Config
	store   *store
	hub     backend.TaskHubWorker
	server  *grpc.Server
	listens *bufconn.Listener
	conn    *grpc.ClientConn
	log     engineLog
}

// Open returns the engine of a service that declares workflows.
func Open(m transport.Member) (transport.Engine, error) {
	return New(Config{Name: m.Name, Pool: m.Pool, Log: m.Log})
}

// New returns an engine. It does not use the database yet.
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	log := engineLog{cfg.Log, new(atomic.Bool)}
	e := &Engine{
		log: log,
		cfg: cfg, store: newStore(cfg), listens: bufconn.Listen(connBuffer),
		server: grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.WaitForHandlers(true)),
	}
	executor, register := backend.NewGrpcExecutor(e.store, log, backend.WithStreamSendTimeout(sendTimeout))
	register(e.server)
	e.hub = backend.NewTaskHubWorker(e.store,
		backend.NewWorkflowWorker(backend.WorkflowWorkerOptions{
			Backend: e.store, Executor: executor, Logger: log, AppID: cfg.Name,
		}, backend.WithMaxParallelism(int32(cfg.Workflows))), //nolint:gosec // some hundreds
		backend.NewActivityTaskWorker(e.store, executor, log,
			backend.WithMaxParallelism(int32(cfg.Activities))), log) //nolint:gosec // some hundreds
	var err error
	e.conn, err = grpc.NewClient("passthrough:///workflows",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.listens.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connect to the workflow engine: %w", err)
	}
	return e, nil
}

// Conn is the connection to the engine. Calls wait until Run is running.
func (e *Engine) Conn() grpc.ClientConnInterface { return e.conn }

// Run works until ctx ends. What is under way then is given up, and begins again in
// another process or at the next start: stop the workflow's worker first. An engine
// runs once.
func (e *Engine) Run(ctx context.Context) error {
	var own errgroup.Group
	// The hub ends before what it stands on.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	own.Go(func() error { return e.store.run(below, ctx) })
	own.Go(func() error { return ignore(e.server.Serve(e.listens), grpc.ErrServerStopped) })
	err := e.hub.Start(below)
	if err == nil {
		<-ctx.Done()
		e.log.stopping.Store(true)
		err = e.hub.Shutdown(below)
	}
	_ = e.conn.Close()
	e.server.Stop()
	stopBelow()
	return errors.Join(err, own.Wait())
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// engineLog has durabletask log as the kit does. What it calls information is of
// interest only to those who mend it; its errors are all tried again. At the end it
// complains of each work item that is given up.
type engineLog struct {
	log      *slog.Logger
	stopping *atomic.Bool
}

func (l engineLog) Debug(v ...any)                 { l.say(slog.LevelDebug, v...) }
func (l engineLog) Debugf(format string, v ...any) { l.sayf(slog.LevelDebug, format, v...) }
func (l engineLog) Info(v ...any)                  { l.say(slog.LevelDebug, v...) }
func (l engineLog) Infof(format string, v ...any)  { l.sayf(slog.LevelDebug, format, v...) }
func (l engineLog) Warn(v ...any)                  { l.say(slog.LevelWarn, v...) }
func (l engineLog) Warnf(format string, v ...any)  { l.sayf(slog.LevelWarn, format, v...) }
func (l engineLog) Error(v ...any)                 { l.say(slog.LevelWarn, v...) }
func (l engineLog) Errorf(format string, v ...any) { l.sayf(slog.LevelWarn, format, v...) }

func (l engineLog) say(level slog.Level, v ...any) {
	if l.stopping.Load() {
		level = slog.LevelDebug
	}
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "workflow engine", "detail", fmt.Sprint(v...))
	}
}

func (l engineLog) sayf(level slog.Level, format string, v ...any) {
	if l.log.Enabled(context.Background(), level) {
		l.say(level, fmt.Sprintf(format, v...))
	}
}
