package inprocess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/transport"
)

const (
	// What a call may be, as with Dapr.
	maxMessage  = 32 << 20
	maxStreams  = 48
	connBuffers = 256 << 10
)

// callServer serves the gRPC services of a member, over memory: deadlines, status codes
// and limits are those of the network.
type callServer struct {
	listener *bufconn.Listener
	server   *transport.Server
	conn     *grpc.ClientConn
}

func newCallServer(name string, register func(grpc.ServiceRegistrar), log *slog.Logger) (*callServer, error) {
	s := &callServer{
		listener: bufconn.Listen(connBuffers),
		server: transport.NewServer(log, grpc.StatsHandler(otelgrpc.NewServerHandler()),
			grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams)),
	}
	register(s.server)
	var err error
	s.conn, err = grpc.NewClient("passthrough:///"+name,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // memory
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
	if err != nil {
		return nil, fmt.Errorf("prepare calls to %s: %w", name, err)
	}
	return s, nil
}

func (s *callServer) serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func (s *callServer) close() {
	_ = s.conn.Close() // nothing is lost with it
	_ = s.listener.Close()
	s.server.StopWithin(0)
}

// Calls implements transport.Transport. As with Dapr, a method must be among those that
// the caller declares.
func (m *member) Calls(service string) grpc.ClientConnInterface { return route{m, service} }

type route struct {
	from *member
	to   string
}

// conn returns a connection to the callee, in the process or by its sidecar, or why there
// is none. The call owes a users.Done of the routes where there is one.
func (r route) conn(method string) (grpc.ClientConnInterface, *routes, error) {
	if !slices.Contains(r.from.Member.Calls, method) {
		return nil, nil, status.Errorf(codes.PermissionDenied, "%s may not call %s: it is not among Calls of its service.Spec", r.from.Name, method)
	}
	held := r.from.bus.hold()
	if held.outside(r.to) {
		return r.from.bus.cfg.Remote.Calls(r.to), held, nil
	}
	to := r.from.bus.find(r.to)
	switch {
	case to == nil:
		held.users.Done()
		return nil, nil, status.Errorf(codes.Unavailable, "%s does not run in this process", r.to)
	case to.calls == nil:
		held.users.Done()
		return nil, nil, status.Errorf(codes.Unimplemented, "%s serves no calls", r.to)
	}
	return to.calls.conn, held, nil
}

// Invoke makes a unary call.
func (r route) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, held, err := r.conn(method)
	if err != nil {
		return err
	}
	defer held.users.Done()
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a streaming call. A callee that is moved waits for it as long as for
// deliveries when it stops, and then cuts it.
func (r route) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, held, err := r.conn(method)
	if err != nil {
		return nil, err
	}
	defer held.users.Done()
	return conn.NewStream(ctx, desc, method, opts...)
}

// Dial implements transport.Transport. Connections that are open when the callee is moved
// end when it stops, and the next request finds the new way.
func (m *member) Dial(ctx context.Context, service string) (net.Conn, error) {
	if !slices.Contains(m.Member.Calls, httpcall.Method) {
		return nil, fmt.Errorf("%s may not make HTTP requests to others: %s is not among Calls of its service.Spec", m.Name, httpcall.Method)
	}
	held := m.bus.hold()
	defer held.users.Done()
	if held.outside(service) {
		return httpcall.Open(ctx, m.bus.cfg.Remote.Calls(service))
	}
	to := m.bus.find(service)
	switch {
	case to == nil:
		return nil, fmt.Errorf("%s does not run in this process", service)
	case to.http == nil:
		return nil, fmt.Errorf("%s takes no HTTP requests", service)
	}
	return to.http.Dial(ctx)
}

// Workflows implements transport.Transport.
func (m *member) Workflows() grpc.ClientConnInterface {
	if m.engine == nil {
		return noEngine{}
	}
	return m.engine.Conn()
}

// noEngine stands where a service has declared no workflows.
type noEngine struct{}

var errNoEngine = status.Error(codes.Unavailable, "the service declares no workflows: set Workflows in its service.Spec")

func (noEngine) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errNoEngine
}

func (noEngine) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errNoEngine
}
