package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	runtimetrace "runtime/trace"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/transport"
)

const (
	startTimeout = 60 * time.Second
	closeTimeout = 500 * time.Millisecond

	// Some hundred requests under way fill every batch; more would only wait longer.
	// Connections cost memory for as long as they are open, some 20 kB each.
	maxRequests = 512
	maxConns    = 1_024
	// Beside 16 KiB of each request, this is what bodies may take together.
	maxBodies = 24 << 20
	// Probes, a Prometheus and a few operators.
	maxAdminConns = 128
)

// Host is the process, as far as its services have to know it.
type Host struct {
	// Config reads the settings of the service. Faults are noted there.
	Config *config.Reader
	// Log is where log lines go.
	Log     io.Writer
	Network transport.Network
	// Migrate is the command that brings the service's database up to date.
	Migrate string
	// Shared says that other services share the process.
	Shared bool
	// Exports says that spans go to an OTLP endpoint.
	Exports bool
	// Recorder is the flight recorder, of which a process has one.
	Recorder *runtimetrace.FlightRecorder
}

// Alone are the ports of a service that has a machine, or a container, to itself.
var Alone = Ports{Public: 8080, GRPC: 8081, Admin: 8082, Health: 8083}

// ports are those where none are set.
func (h Host) ports(spec Spec) Ports {
	if h.Shared {
		return spec.Ports()
	}
	return Alone
}

// Instance is a service in a process. Its methods are called in the order in which they
// are declared.
type Instance struct {
	spec    Spec
	host    Host
	set     settings
	log     *slog.Logger
	metrics *telemetry.Metrics

	// pool, outbox and inbox are nil where the service has no database.
	pool          *pgxpool.Pool
	outbox        *outbox.Outbox
	inbox         *inbox.Inbox
	transport     transport.Transport
	app           App
	http          *rest.ConnLimit
	admin, health *rest.ConnLimit
	// called takes requests of other services, and is nil where there are no public routes.
	called   *httpcall.Listener
	timings  timings
	services *rest.ConnLimit // of called
	stopping atomic.Bool
	intake   http.Handler
	limits   *rest.Limits // of the routes
	callers  caller.Guard
	keys     *token.Remote // nil where callers prove themselves otherwise
	closers  []func()
}

// Open reads the settings of a service and makes everything that needs neither database
// nor network to answer, so that every wrong setting is reported at once. The caller
// looks at the faults in host.Config, and closes the instance in any case.
func Open(ctx context.Context, spec Spec, host Host) (*Instance, error) {
	s := &Instance{
		spec: spec, host: host, set: readSettings(host.Config, spec, host.ports(spec)),
		log: telemetry.NewLog(host.Log, readLogLevel(host.Config), spec.Name), metrics: telemetry.NewMetrics(spec.Name),
	}
	s.timings = newTimings(s.metrics, spec)
	if spec.HasDatabase() {
		s.openPool(ctx)
	}
	if s.set.bySlot && host.Shared {
		host.Config.Fault("QUADRILLE_RELAY", errors.New("is debezium, which publishes to Kafka; services of one process would not hear it"))
	}
	var err error
	s.transport, err = host.Network.Join(transport.Member{
		Name: spec.Name, Topics: spec.Hears, Calls: spec.Calls, Workflows: spec.Workflows, Pool: s.pool,
		Insecure: s.set.insecure, Config: host.Config, Log: s.log,
	})
	if err != nil {
		return s, fmt.Errorf("%s: %w", spec.Name, err)
	}
	s.onClose(s.transport.Close)
	if spec.HasDatabase() {
		s.outbox = outbox.New(outbox.Config{
			Source: spec.Name, System: s.transport.System(), Emits: spec.Emits, Pool: s.pool, Publisher: s.transport, Log: s.log,
			Parallel: s.transport.Parallel(), Heard: s.transport.Heard, Timings: s.timings.outbox, BySlot: s.set.bySlot,
		})
	}
	s.guard()
	connections := httpcall.NewTransport(s.transport.Dial)
	s.onClose(connections.CloseIdleConnections)
	var requests http.RoundTripper = connections
	if host.Exports {
		requests = otelhttp.NewTransport(connections)
	}
	s.app = spec.Build(&Kit{
		Config: host.Config, Pool: s.pool, Outbox: s.outbox, Calls: s.transport.Calls, HTTP: requests, Verifier: s.callers.Verifier, Workflows: s.transport.Workflows,
		Log: s.log, Metrics: s.metrics, API: rest.API{Log: s.log},
	})
	if spec.HasDatabase() {
		s.inbox = inbox.New(inbox.Config{
			Consumer: spec.Name, System: s.transport.System(), Pool: s.pool, Outbox: s.outbox, Handler: s.app.Handle, Log: s.log, Group: s.set.group, Timings: s.timings.inbox,
		})
	}
	if s.app.Verifier != nil {
		s.callers.Verifier, s.keys = s.app.Verifier, nil
	}
	s.intake = s.publicHandler()
	s.expose()
	return s, nil
}

// openPool notes a wrong URL as a fault of the settings.
func (s *Instance) openPool(ctx context.Context) {
	var err error
	s.pool, err = pgtx.Open(ctx, s.set.database.Reveal(), pgtx.Options{
		Name: s.spec.Name, MaxConns: int32(s.set.maxConns), Traced: s.host.Exports, //nolint:gosec // at most 200
		Pooled: s.set.pooled, URL: s.set.databaseNow,
	})
	switch {
	case err == nil:
		s.onClose(s.closePool)
	case s.set.database != "": // or it is reported as missing
		s.host.Config.Own().Fault("QUADRILLE_DATABASE_URL", err)
	}
}

func (s *Instance) publicHandler() http.Handler {
	if s.app.Front != nil {
		return s.closeWhenStopping(s.traced(s.measured(s.app.Front.Handler)))
	}
	r := chi.NewRouter()
	r.Use(s.closeWhenStopping, s.traced, s.measured)
	s.limits = rest.NewLimits(maxRequests, s.app.Streams)
	r.Use(s.limits.Handler)
	r.Use(rest.LimitBodies(maxBodies)) // innermost, since others wrap the body too
	rest.Fallbacks(r, s.callers.Handler)
	if s.app.Routes != nil {
		s.app.Routes(r.With(s.callers.Handler))
	}
	if s.app.OpenRoutes != nil {
		s.app.OpenRoutes(r.With(s.callers.Open))
	}
	return r
}

// guard says how callers prove themselves.
func (s *Instance) guard() {
	s.callers.Required = s.set.behindEdge
	if s.set.identity != "" {
		s.keys = token.NewRemote(s.set.identity, s.log)
		s.callers.Verifier = token.NewVerifier(s.set.issuer, s.keys)
	}
}

// traced gives each request its place in a trace: the caller's, or a new one. The public door
// begins its own, with a link to the caller's: how much is recorded is not for the world to say.
// Where no spans are exported, the trace context is all that is needed, and
// otelhttp would be a fifth of what a request costs.
func (s *Instance) traced(next http.Handler) http.Handler {
	if s.host.Exports {
		return otelhttp.NewHandler(named(next), "http",
			otelhttp.WithSpanNameFormatter(spanName),
			otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return s.app.Front != nil }))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(telemetry.Continue(r.Context(), r.Header.Get("Traceparent"))))
	})
}

// named names the span after the route, which is known once the request was routed.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if route := routeOf(r); route != "" {
			telemetry.Route(r, route)
		}
	})
}

// spanName is what otelhttp calls a span: as the request comes and, where chi told it the route,
// once more at the end.
func spanName(_ string, r *http.Request) string {
	if route := routeOf(r); route != "" {
		return r.Method + " " + route
	}
	return r.Method
}

func routeOf(r *http.Request) string {
	if c := chi.RouteContext(r.Context()); c != nil {
		return c.RoutePattern()
	}
	return ""
}

// measured tells how long answers take.
func (s *Instance) measured(next http.Handler) http.Handler {
	return rest.Measure(next, func(r *http.Request, status int, took time.Duration) {
		s.timings.answers.ObserveIn(telemetry.TraceParent(r.Context()), strconv.Itoa(status/100)+"xx", took)
	})
}

// Listen opens the service's ports.
func (s *Instance) Listen(ctx context.Context) error {
	for _, l := range []struct {
		name, addr string
		conns      int
		keep       **rest.ConnLimit
	}{
		{"QUADRILLE_HEALTH_ADDR", s.set.healthAddr, maxAdminConns, &s.health},
		{"QUADRILLE_ADMIN_ADDR", s.set.adminAddr, maxAdminConns, &s.admin},
		{"QUADRILLE_HTTP_ADDR", s.set.httpAddr, s.publicConns(), &s.http},
	} {
		if l.keep == &s.http && !s.hasPort() {
			continue
		}
		ln, err := Listen(ctx, l.addr, s.set.sharePorts)
		if err != nil {
			return fmt.Errorf("%s: %w", s.host.Config.Own().Name(l.name), err)
		}
		s.onClose(func() { _ = ln.Close() })
		if f := s.app.Front; f != nil && l.keep == &s.http {
			ln = rest.LimitEach(ln, f.ConnsOfEach, f.Trusted)
		}
		*l.keep = rest.NewConnLimit(ln, l.conns)
	}
	if s.app.hasRoutes() {
		s.called = httpcall.NewListener()
		s.services = rest.NewConnLimit(s.called, maxConns+s.app.Streams)
		s.onClose(func() { _ = s.called.Close() })
	}
	serves := transport.Service{Register: s.app.Services, HTTP: s.called}
	if s.inbox != nil {
		serves.Handler = s.inbox
	}
	return s.transport.Listen(ctx, serves)
}

// hasPort reports whether others reach the service without the gateway, which always has a
// port.
func (s *Instance) hasPort() bool {
	return !s.set.noPort || s.app.Front != nil || len(s.spec.PeerPaths) > 0
}

func (s *Instance) publicConns() int {
	if s.app.Front != nil {
		return s.app.Front.Conns
	}
	return maxConns + s.app.Streams
}

// Prepare waits for the database, and for a schema that the service can work with. It
// changes nothing: that is for Migrate, whose role may.
func (s *Instance) Prepare(ctx context.Context) error {
	if s.spec.HasDatabase() {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := s.awaitDatabase(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.spec.Name, err)
		}
	}
	if s.set.insecure {
		s.log.WarnContext(ctx, "QUADRILLE_INSECURE=no-tokens: never run this where others reach the ports")
	}
	s.log.InfoContext(ctx, "started", "http", s.set.httpAddr, "admin", s.set.adminAddr, "health", s.set.healthAddr)
	return nil
}

// Level says when a layer stops: the highest first. All services of a process stop one
// level before the first layer of the next.
type Level int

// The levels, bottom up.
const (
	LevelHealth Level = iota
	LevelAdmin
	LevelOutbox
	LevelInbox
	LevelWorkflows
	// LevelWork is the service's own work. It stops after what comes in, which may use it.
	LevelWork
	LevelEvents
	LevelHTTP
)

// Layer is a part of a service that runs until its context ends, and by then has
// finished what it took in. It may use those of its service below it.
type Layer struct {
	Level Level
	Name  string
	Run   func(context.Context) error
}

// Layers lists what runs, bottom up.
func (s *Instance) Layers() []Layer {
	layers := []Layer{
		{LevelHealth, "health endpoint", Serve(s.health, s.healthHandler())},
		{LevelAdmin, "admin endpoint", Serve(s.admin, s.adminHandler())},
	}
	if s.spec.HasDatabase() {
		layers = append(layers, Layer{LevelOutbox, "outbox", s.outbox.Run}, Layer{LevelInbox, "inbox", s.inbox.Run})
	}
	if s.spec.Workflows != nil {
		layers = append(layers, Layer{LevelWorkflows, "workflow engine", s.transport.RunWorkflows})
	}
	if s.keys != nil {
		layers = append(layers, Layer{LevelWork, "token keys", s.keys.Run})
	}
	for _, w := range s.app.Work {
		layers = append(layers, Layer{LevelWork, w.Name, w.Run})
	}
	layers = append(layers, Layer{LevelEvents, "event intake", s.transport.Deliver})
	if s.called != nil { // what comes by the public port of another service needs it to its end
		layers = append(layers, Layer{LevelEvents, "requests of services", Serve(s.services, s.intake)})
	}
	return append(layers, Layer{LevelHTTP, "HTTP intake", s.serveHTTP})
}

// serveHTTP serves the public port. Streams end as soon as it closes: they would not by
// themselves.
func (s *Instance) serveHTTP(ctx context.Context) error {
	end := func() {}
	switch {
	case s.limits != nil:
		end = s.limits.EndStreams
	case s.app.Front != nil:
		end = s.app.Front.EndStreams
	}
	stop := context.AfterFunc(ctx, end)
	defer stop()
	if s.http == nil { // closed: requests come by the gateway
		<-ctx.Done()
		return nil
	}
	h := s.intake
	if s.set.noPort && s.app.Front == nil {
		h = s.forPeers(h)
	}
	return Serve(s.http, h)(ctx)
}

// forPeers is a closed port of which other services need something.
func (s *Instance) forPeers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(s.spec.PeerPaths, func(path string) bool { return rest.Under(path, r.URL.Path) }) {
			next.ServeHTTP(w, r)
			return
		}
		rest.WriteProblem(w, r, fault.New(fault.Forbidden, "gateway_only", "This port is for other services; ask the gateway."))
	})
}

// Stopping has the service say that it is to get no more.
func (s *Instance) Stopping() { s.stopping.Store(true) }

// closePool does not wait long for connections in use: after a stop that was
// given up some are, and the process ends all the same.
func (s *Instance) closePool() {
	closed := make(chan struct{})
	go func() { defer close(closed); s.pool.Close() }()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

func (s *Instance) onClose(f func()) { s.closers = append(s.closers, f) }

// Close ends what Open and Listen began.
func (s *Instance) Close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}
