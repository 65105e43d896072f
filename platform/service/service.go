// Package service runs a service: it reads the settings, checks the database, starts
// outbox, inbox, listeners and the service's own work, and stops them in
// the order that loses nothing. A service's main only calls Main.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	runtimetrace "runtime/trace"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"google.golang.org/grpc"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/sidecar"
	"quadrille.internal/platform/subscriber"
	"quadrille.internal/platform/telemetry"
)

const (
	startTimeout = 60 * time.Second
	// stopTimeout leaves a second of the ten that a stop may take.
	stopTimeout   = 9 * time.Second
	intakeTimeout = 4 * time.Second
	closeTimeout  = 500 * time.Millisecond
	gcPercent     = 200

	// Some hundred requests under way fill every batch; more would only wait longer.
	// Connections cost memory for as long as they are open, some 20 kB each.
	maxRequests = 512
	maxConns    = 1_024
	// Beside 16 KiB of each request, this is what bodies may take together.
	maxBodies = 24 << 20
	// Probes, a Prometheus and a few operators.
	maxAdminConns = 128
)

// Spec is all that others need to know of a service; what is written about it
// elsewhere (scopes, ports, documents) is made from it by `quad generate`.
type Spec struct {
	// Name is the app id, consumer group, CloudEvents source and database.
	Name string
	// Port is the first of the service's ports on one machine; see Ports.
	Port int
	// Emits are the types of the events that the service emits. It owns them.
	Emits []string
	// EmittedBefore are types that only the release before emits: its replicas and outboxes
	// may go on publishing them during an upgrade. The next release drops them.
	EmittedBefore []string
	// Hears are the types of the events that the service subscribes to.
	Hears []string
	// Calls are the gRPC methods of other services that the service calls, by full name.
	Calls []string
	// Workflows is set where the service runs workflows.
	Workflows bool
	// Partners are the third parties that the service calls.
	Partners []Partner
	// Migrations holds a folder "migrations".
	Migrations fs.FS
	// Grants are the privileges of the service's role by table, where they are not
	// "select, insert, update, delete"; "" is none, and functions end in "()".
	Grants map[string]string
	// Build reads the service's settings from kit.Config and wires it. It must not
	// use the database or the network yet.
	Build func(kit *Kit) App
}

// Kit is what a service is built with.
type Kit struct {
	Config  *config.Reader
	Pool    *pgxpool.Pool
	Outbox  *outbox.Outbox
	Sidecar *sidecar.Sidecar
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	API     rest.API
}

// App is a service's own part.
type App struct {
	// Handle has the effects of events.
	Handle inbox.Handler
	// Routes adds the public routes.
	Routes func(chi.Router)
	// OperatorRoutes adds routes to the admin port, which wants the operators' token.
	OperatorRoutes func(chi.Router)
	// Services adds gRPC services that other apps call through the sidecars.
	Services func(grpc.ServiceRegistrar)
	// Work runs below the listeners, which may use it.
	Work []Work
}

// Work is a part of a service that runs as long as it does.
type Work struct {
	Name string
	// Run returns when its context ends, having finished what it began.
	Run func(context.Context) error
}

type settings struct {
	httpAddr, grpcAddr, adminAddr, healthAddr string

	behindEdge  bool
	tokens      tokens
	database    config.Secret
	privileges  string
	maxConns    int
	sidecarAddr string
	logLevel    string
	traceRatio  int
	group       group.Config
	flight      string
	drain       time.Duration
	pooled      bool
	// databaseNow returns the database URL as its file holds it now, and is nil where
	// it is not in a file.
	databaseNow func() (string, error)
}

func readSettings(r *config.Reader) settings {
	return settings{
		httpAddr:    r.Addr("QUADRILLE_HTTP_ADDR", "127.0.0.1:8080"),
		grpcAddr:    r.Addr("QUADRILLE_GRPC_ADDR", "127.0.0.1:8081"),
		adminAddr:   r.Addr("QUADRILLE_ADMIN_ADDR", "127.0.0.1:8082"),
		healthAddr:  r.Addr("QUADRILLE_HEALTH_ADDR", "127.0.0.1:8083"),
		behindEdge:  r.Choice("QUADRILLE_BEHIND_EDGE", "off", "off", "on") == "on",
		tokens:      readTokens(r),
		database:    r.Secret("QUADRILLE_DATABASE_URL"),
		privileges:  readPrivileges(r),
		maxConns:    r.Int("QUADRILLE_DATABASE_CONNS", 10, 3, 200),
		sidecarAddr: net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Int("DAPR_GRPC_PORT", 50001, 1, 65535))),
		logLevel:    r.Choice("QUADRILLE_LOG_LEVEL", "info", "debug", "info", "warn", "error"),
		traceRatio:  r.Int("QUADRILLE_TRACE_PERCENT", 100, 0, 100),
		flight:      r.Choice("QUADRILLE_FLIGHT", "off", "off", "on"),
		drain:       r.Pause("QUADRILLE_DRAIN"),
		pooled:      r.Choice("QUADRILLE_DATABASE_POOLER", "none", "none", "transaction") == "transaction",
		databaseNow: databaseNow(r),
		// One worker: events of one order come close together, and two transactions that
		// change the same order or the same stock only make each other wait or repeat.
		group: group.Config{
			Workers: 1, Max: 400,
			Linger: r.Duration("QUADRILLE_LINGER", 2*time.Millisecond),
		},
	}
}

// databaseNow has new connections use a password that was changed while we run.
func databaseNow(r *config.Reader) func() (string, error) {
	path := r.SecretFile("QUADRILLE_DATABASE_URL")
	if path == "" {
		return nil
	}
	return func() (string, error) {
		url, err := config.ReadSecret(path)
		return url.Reveal(), err
	}
}

// Main does what the command line says: without arguments it runs the service until
// SIGTERM or SIGINT, and `migrate` brings its database up to date. It ends the
// process: 0 after a whole stop or a migration, 2 for a wrong command line, 1 otherwise.
func Main(spec Spec) {
	// Whoever reads our log may end before us (dapr run does when killed); the next
	// line must not be our last.
	signal.Ignore(syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		// Half as many collections for a third more of a small heap.
		debug.SetGCPercent(gcPercent)
	}
	limit, _ := memoryLimit(os.DirFS("/"), os.Getenv)
	debug.SetMemoryLimit(limit)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := Command(ctx, spec, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	if code != 0 {
		os.Exit(code)
	}
}

// Run runs a service until ctx ends. lookup gives the environment, logs go to w.
func Run(ctx context.Context, spec Spec, lookup func(string) (string, bool), w io.Writer) error {
	if err := spec.Check(); err != nil {
		return err
	}
	reader := config.NewReader(lookup)
	set := readSettings(reader)
	var level slog.Level // info, where the setting is refused below
	_ = level.UnmarshalText([]byte(set.logLevel))
	p := &process{spec: spec, set: set, log: telemetry.NewLog(w, level, spec.Name), metrics: telemetry.NewMetrics()}
	defer p.close() //nolint:contextcheck // it must happen after ctx has ended
	if err := p.open(ctx, reader, lookup); err != nil {
		return err
	}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	set.tokens.warn(ctx, p.log)
	limit, from := memoryLimit(os.DirFS("/"), os.Getenv)
	p.log.InfoContext(ctx, "started", "memory_limit", limit, "memory_limit_from", from, "http", set.httpAddr, "grpc", set.grpcAddr, "admin", set.adminAddr, "health", set.healthAddr)
	running, cancel := p.drain(ctx)
	defer cancel()
	err := runLayers(running, stopTimeout, p.layers())
	p.log.InfoContext(context.WithoutCancel(ctx), "stopped", "err", err)
	return err
}

// process is a service that is running.
type process struct {
	spec    Spec
	set     settings
	log     *slog.Logger
	metrics *telemetry.Metrics

	pool          *pgxpool.Pool
	sidecar       *sidecar.Sidecar
	outbox        *outbox.Outbox
	inbox         *inbox.Inbox
	app           App
	http          *rest.ConnLimit
	admin, health *rest.ConnLimit
	grpc          net.Listener
	exports       bool // spans, to an OTLP endpoint
	stopTracing   func(context.Context) error
	stopping      atomic.Bool
	intake        http.Handler
	callers       caller.Guard
	subscriptions *grpc.Server
	recorder      *runtimetrace.FlightRecorder
	closers       []func()
}

// open makes everything that needs neither database nor sidecar to answer, so
// that every wrong setting is reported at once.
func (p *process) open(ctx context.Context, reader *config.Reader, lookup func(string) (string, bool)) error {
	endpoint, _ := lookup("OTEL_EXPORTER_OTLP_ENDPOINT")
	p.exports = endpoint != ""
	var err error
	p.stopTracing, err = telemetry.StartTracing(ctx, telemetry.TraceConfig{
		Service: p.spec.Name, Export: p.exports, Ratio: float64(p.set.traceRatio) / 100,
	})
	if err != nil {
		return err
	}
	p.pool, err = pgtx.Open(ctx, p.set.database.Reveal(), pgtx.Options{
		Name: p.spec.Name, MaxConns: int32(p.set.maxConns), Traced: p.exports, //nolint:gosec // at most 200
		Pooled: p.set.pooled, URL: p.set.databaseNow,
	})
	switch {
	case err == nil:
		p.onClose(p.closePool)
	case p.set.database != "": // or it is reported as missing
		reader.Fault("QUADRILLE_DATABASE_URL", err)
	}
	p.sidecar, err = sidecar.Dial(p.set.sidecarAddr, p.set.tokens.dapr.Reveal())
	if err != nil {
		return err
	}
	p.onClose(func() { _ = p.sidecar.Close() })
	p.outbox = outbox.New(outbox.Config{Source: p.spec.Name, Emits: p.spec.Emits, Pool: p.pool, Publisher: p.sidecar, Log: p.log})
	p.app = p.spec.Build(&Kit{
		Config: reader, Pool: p.pool, Outbox: p.outbox, Sidecar: p.sidecar, Log: p.log, Metrics: p.metrics, API: rest.API{Log: p.log},
	})
	if err := reader.Err(); err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	p.inbox = inbox.New(inbox.Config{
		Consumer: p.spec.Name, Pool: p.pool, Outbox: p.outbox, Handler: p.app.Handle, Log: p.log, Group: p.set.group,
	})
	p.subscriptions = subscriber.NewGRPC(subscriber.Config{
		App: p.spec.Name, Topics: p.spec.Hears, Token: p.set.tokens.app.Reveal(), Handler: p.inbox, Register: p.app.Services, Log: p.log,
	})
	p.intake = p.publicHandler()
	p.expose()
	if err := p.record(); err != nil {
		return err
	}
	return p.listen(ctx)
}

// record starts the flight recorder, which costs about one per cent of a busy
// processor and so is a choice.
func (p *process) record() error {
	p.recorder = newRecorder()
	if p.set.flight != "on" {
		return nil
	}
	if err := p.recorder.Start(); err != nil {
		return fmt.Errorf("start flight recorder: %w", err)
	}
	p.onClose(p.recorder.Stop)
	return nil
}

func (p *process) publicHandler() http.Handler {
	r := chi.NewRouter()
	r.Use(p.closeWhenStopping)
	r.Use(rest.Limit(maxRequests))
	r.Use(p.traced)
	p.callers.Required = p.set.behindEdge
	r.Use(p.callers.Handler)
	r.Use(rest.LimitBodies(maxBodies)) // innermost, since others wrap the body too
	rest.Fallbacks(r)
	if p.app.Routes != nil {
		p.app.Routes(r)
	}
	return r
}

// traced gives each request its place in a trace: the caller's, or a new one.
// Where no spans are exported, the trace context is all that is needed, and
// otelhttp would be a fifth of what a request costs.
func (p *process) traced(next http.Handler) http.Handler {
	if p.exports {
		return otelhttp.NewHandler(next, "http", otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return p.spec.Name + " " + r.Method + " " + r.URL.Path
		}))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(telemetry.Continue(r.Context(), r.Header.Get("Traceparent"))))
	})
}

func (p *process) listen(ctx context.Context) error {
	for _, l := range []struct {
		name, addr string
		keep       func(net.Listener)
	}{
		{"QUADRILLE_HEALTH_ADDR", p.set.healthAddr, func(ln net.Listener) { p.health = rest.NewConnLimit(ln, maxAdminConns) }},
		{"QUADRILLE_ADMIN_ADDR", p.set.adminAddr, func(ln net.Listener) { p.admin = rest.NewConnLimit(ln, maxAdminConns) }},
		{"QUADRILLE_GRPC_ADDR", p.set.grpcAddr, func(ln net.Listener) { p.grpc = ln }},
		{"QUADRILLE_HTTP_ADDR", p.set.httpAddr, func(ln net.Listener) { p.http = rest.NewConnLimit(ln, maxConns) }},
	} {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		p.onClose(func() { _ = ln.Close() })
		l.keep(ln)
	}
	return nil
}

// layers lists what runs, bottom up.
func (p *process) layers() []layer {
	layers := []layer{
		{"health endpoint", p.serveHTTP(p.health, p.healthHandler())},
		{"admin endpoint", p.serveHTTP(p.admin, p.adminHandler())},
		{"outbox", p.outbox.Run},
		{"inbox", p.inbox.Run},
	}
	for _, w := range p.app.Work {
		layers = append(layers, layer{w.Name, w.Run})
	}
	return append(layers,
		layer{"event intake", p.serveGRPC},
		layer{"HTTP intake", p.serveHTTP(p.http, p.intake)})
}

func (p *process) serveHTTP(ln *rest.ConnLimit, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := ln.Server(h)
		finished := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(finished)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), intakeTimeout)
			defer cancel()
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close() // requests that hang are cut
			}
		})
		err := srv.Serve(ln)
		if !stop() {
			<-finished // Serve returns at once, before the requests under way
		}
		return ignore(err, http.ErrServerClosed)
	}
}

func (p *process) serveGRPC(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		cut := time.AfterFunc(intakeTimeout, p.subscriptions.Stop)
		defer cut.Stop()
		p.subscriptions.GracefulStop()
	})
	defer stop()
	return ignore(p.subscriptions.Serve(p.grpc), grpc.ErrServerStopped)
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// closePool does not wait long for connections in use: after a stop that was
// given up some are, and the process ends all the same.
func (p *process) closePool() {
	closed := make(chan struct{})
	go func() { defer close(closed); p.pool.Close() }()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

func (p *process) onClose(f func()) { p.closers = append(p.closers, f) }

func (p *process) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
	if p.stopTracing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = p.stopTracing(ctx) // spans that cannot be sent are not worth a failed stop
	}
}
