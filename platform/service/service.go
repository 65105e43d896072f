// Package service is one service of a process: its settings, database, outbox, inbox and
// ports, and the layers in which they run. Package host runs the process.
package service

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/transport"
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
	// Calls are the gRPC methods of other services that the service calls, by full name;
	// httpcall.Method is for HTTP requests to them.
	Calls []string
	// Workflows makes the service's workflow engine for a process without Dapr:
	// workflowengine.Open. It is nil where the service runs no workflows.
	Workflows func(transport.Member) (transport.Engine, error)
	// Partners are the third parties that the service calls.
	Partners []Partner
	// Paths are the prefixes of the public routes, such as "/v1/orders" of "/v1/orders/{id}".
	// The gateway sends what begins with them here; no other service has them.
	Paths []string
	// PeerPaths are those of Paths that other services ask for at the public port, such as
	// identity's keys. Where that is closed it answers nothing else.
	PeerPaths []string
	// Migrations holds a folder "migrations". Where it is nil the service has no database:
	// it neither emits nor hears, and its Kit has neither pool nor outbox.
	Migrations fs.FS
	// Grants are the privileges of the service's role by table, where they are not
	// "select, insert, update, delete"; "" is none, and functions end in "()".
	Grants map[string]string
	// Sealed says that the service seals some of what it keeps; see package seal. On one
	// machine it gets a master key of its own.
	Sealed bool
	// Build reads the service's settings from kit.Config and wires it. It must not
	// use the database or the network yet.
	Build func(kit *Kit) App
}

// HasDatabase reports whether the service has one.
func (s Spec) HasDatabase() bool { return s.Migrations != nil }

// Kit is what a service is built with.
type Kit struct {
	Config *config.Reader
	// Pool and Outbox are nil where the service has no database.
	Pool   *pgxpool.Pool
	Outbox *outbox.Outbox
	// Calls returns a connection to the gRPC services of another service.
	Calls func(service string) grpc.ClientConnInterface
	// HTTP makes requests to other services: http://order/v1/orders is for the service order.
	// Where that was not reached the error is an httpcall.DialError.
	HTTP http.RoundTripper
	// Verifier verifies access tokens by identity's published keys. It is nil where callers
	// prove themselves otherwise.
	Verifier caller.Verifier
	// Workflows returns a connection to the workflow engine.
	Workflows func() grpc.ClientConnInterface
	Log       *slog.Logger
	Metrics   *telemetry.Metrics
	API       rest.API
}

// App is a service's own part.
type App struct {
	// Handle has the effects of events.
	Handle inbox.Handler
	// Routes adds the public routes. Where callers prove themselves, these want one.
	Routes func(chi.Router)
	// OpenRoutes adds public routes that anybody may use. Their caller may be anonymous, and
	// then owns nothing.
	OpenRoutes func(chi.Router)
	// Verifier, unless nil, verifies access tokens in place of identity's published keys.
	// Only identity has one.
	Verifier caller.Verifier
	// Front serves the public port instead of Routes, and limits itself.
	Front *Front
	// Streams is how many answers may last at a time, as those of rest.API.Stream do. The
	// public port holds as many connections more.
	Streams int
	// OperatorRoutes adds routes to the admin port, which wants the operators' token.
	OperatorRoutes func(chi.Router)
	// Services adds gRPC services that other services call.
	Services func(grpc.ServiceRegistrar)
	// Work runs below the listeners, which may use it.
	Work []Work
}

func (a App) hasRoutes() bool { return a.Routes != nil || a.OpenRoutes != nil }

// Front is a public port that does without the kit's limits of requests and bodies, and
// without its check of callers.
type Front struct {
	Handler http.Handler
	// Conns is how many connections the port holds, and ConnsOfEach how many of them one
	// address has, unless it is Trusted.
	Conns, ConnsOfEach int
	Trusted            func(netip.Addr) bool
	// EndStreams ends the answers that would last: the port is to close.
	EndStreams func()
}

// Work is a part of a service that runs as long as it does.
type Work struct {
	Name string
	// Run returns when its context ends, having finished what it began.
	Run func(context.Context) error
}

type settings struct {
	httpAddr, adminAddr, healthAddr string

	sharePorts bool
	// noPort leaves the public port closed, but for PeerPaths: requests come by the gateway alone.
	noPort     bool
	behindEdge bool
	// identity is where access tokens are verified by, or "" where they are not.
	identity, issuer string
	adminToken       config.Secret
	insecure         bool
	database         config.Secret
	privileges       string
	maxConns         int
	group            group.Config
	pooled           bool
	// bySlot says that the reader of a replication slot publishes.
	bySlot bool
	// databaseNow returns the database URL as its file holds it now, and is nil where
	// it is not in a file.
	databaseNow func() (string, error)
}

// readLogLevel is read before all others, whose faults may be logged. A wrong one is
// reported with them.
func readLogLevel(r *config.Reader) (level slog.Level) {
	_ = level.UnmarshalText([]byte(r.Choice("QUADRILLE_LOG_LEVEL", "info", "debug", "info", "warn", "error")))
	return level
}

func readSettings(r *config.Reader, spec Spec, ports Ports) settings {
	own, insecure := r.Own(), readInsecure(r)
	identity := r.URL("QUADRILLE_IDENTITY_URL", "")
	set := settings{
		httpAddr:   own.Addr("QUADRILLE_HTTP_ADDR", loopback(ports.Public)),
		adminAddr:  own.Addr("QUADRILLE_ADMIN_ADDR", loopback(ports.Admin)),
		healthAddr: own.Addr("QUADRILLE_HEALTH_ADDR", loopback(ports.Health)),
		sharePorts: r.Choice("QUADRILLE_SHARE_PORTS", "off", "off", "on") == "on",
		noPort:     r.Choice("QUADRILLE_PUBLIC_PORT", "open", "open", "closed") == "closed",
		behindEdge: r.Choice("QUADRILLE_BEHIND_EDGE", "off", "off", "on") == "on",
		identity:   identity,
		issuer:     r.URL("QUADRILLE_ISSUER", identity),
		adminToken: readAdminToken(own, insecure),
		insecure:   insecure,
	}
	if spec.HasDatabase() {
		set.readDatabase(r)
	}
	return set
}

func (s *settings) readDatabase(r *config.Reader) {
	own := r.Own()
	s.database = own.Secret("QUADRILLE_DATABASE_URL")
	s.databaseNow = databaseNow(own)
	s.privileges = readPrivileges(r)
	s.maxConns = r.Int("QUADRILLE_DATABASE_CONNS", 10, 3, 200)
	s.pooled = r.Choice("QUADRILLE_DATABASE_POOLER", "none", "none", "transaction") == "transaction"
	s.bySlot = r.Choice("QUADRILLE_RELAY", "outbox", "outbox", "debezium") == "debezium"
	// One worker: events of one order come close together, and two transactions that
	// change the same order or the same stock only make each other wait or repeat.
	s.group = group.Config{Workers: 1, Max: 400, Linger: r.Duration("QUADRILLE_LINGER", 2*time.Millisecond)}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

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
