// Package transport is what a service needs of the world between services: its events
// reach those that hear them, theirs reach it, and calls go from one to another.
// Package dapr does it with a sidecar and a broker, package inprocess within a process.
package transport

import (
	"context"
	"log/slog"
	"net"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

// Network gives each service of a process its transport.
type Network interface {
	// Join reads the transport's settings from m.Config, notes there what is wrong with
	// them, and uses neither network nor database yet.
	Join(m Member) (Transport, error)
}

// Member is a service, as far as its transport has to know it.
type Member struct {
	// Name is the service's name, which others call it by.
	Name string
	// Topics that it hears.
	Topics []string
	// Calls are the gRPC methods that it calls, by full name; httpcall.Method where it makes
	// HTTP requests.
	Calls []string
	// Workflows makes its workflow engine, where none is elsewhere. It is nil where the
	// service runs no workflows.
	Workflows func(Member) (Engine, error)
	// Pool leads to its database.
	Pool *pgxpool.Pool
	// Insecure lets tokens be missing.
	Insecure bool
	Config   *config.Reader
	Log      *slog.Logger
}

// Engine runs the workflows of a service.
type Engine interface {
	// Conn is a connection to it.
	Conn() grpc.ClientConnInterface
	// Run works until ctx ends.
	Run(ctx context.Context) error
}

// Transport is one service's way to the others.
type Transport interface {
	outbox.Publisher
	// System names what carries events, in spans.
	System() string
	// Parallel is how many calls of Publish for one topic are worth making at a time.
	Parallel() int
	// Heard reports whether anyone may hear the events of a topic. Those that nobody can
	// hear need not be kept.
	Heard(topic string) bool
	// Calls returns a connection to the gRPC services of another service.
	Calls(service string) grpc.ClientConnInterface
	// Dial returns a connection for HTTP requests to another service. ctx is for the opening
	// only.
	Dial(ctx context.Context, service string) (net.Conn, error)
	// Workflows returns a connection to the workflow engine.
	Workflows() grpc.ClientConnInterface
	// Listen prepares for s, and fails where others have what it needs.
	Listen(ctx context.Context, s Service) error
	// Deliver hands over events, and calls of others, until ctx ends and those under way
	// are done, or have had their time.
	Deliver(ctx context.Context) error
	// RunWorkflows runs the workflow engine until ctx ends, where it is not elsewhere.
	RunWorkflows(ctx context.Context) error
	// Ready says why events do not come, if they do not.
	Ready(ctx context.Context) error
	// Close ends it, after Deliver.
	Close()
}

// Service is what a transport delivers to.
type Service struct {
	// Handler has the effects of events.
	Handler Handler
	// Register adds the service's own gRPC services, or is nil.
	Register func(grpc.ServiceRegistrar)
	// HTTP takes HTTP requests of other services, or is nil.
	HTTP *httpcall.Listener
}

// Handler has the effects of delivered messages: an inbox.Inbox.
type Handler interface {
	// Handle fills in the verdicts. With an error there are none: all are to come again.
	Handle(ctx context.Context, batch []*inbox.Message) error
	// HandleDead keeps messages that the transport gives up on.
	HandleDead(ctx context.Context, batch []*inbox.Message)
}
