package transport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow answers when it is told to, whatever becomes of the call.
type slow struct {
	grpc_health_v1.UnimplementedHealthServer
	entered, release chan struct{}
}

func (s slow) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	close(s.entered)
	<-s.release
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// Watch lasts until its context ends.
func (s slow) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	close(s.entered)
	<-stream.Context().Done()
	return status.Error(codes.Unavailable, "the server stops")
}

// called serves a call, and returns when that is under way.
func called(t *testing.T) (server *transport.Server, s slow, answer <-chan error) {
	t.Helper()
	s = slow{entered: make(chan struct{}), release: make(chan struct{})}
	server = transport.NewServer(slog.New(slog.DiscardHandler))
	grpc_health_v1.RegisterHealthServer(server, s)
	conn := serve(t, server)
	answers := make(chan error, 1)
	go func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		answers <- err
	}()
	<-s.entered
	return server, s, answers
}

// serve serves over memory, and returns a connection.
func serve(t *testing.T, server *transport.Server) *grpc.ClientConn {
	t.Helper()
	ln := bufconn.Listen(64 << 10)
	go func() { _ = server.Serve(ln) }()
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func stopped(server *transport.Server, atMost time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); server.StopWithin(atMost) }()
	return done
}

func TestStopServer_WaitsForCallsUnderWay(t *testing.T) {
	server, s, answer := called(t)
	done := stopped(server, time.Minute)
	select {
	case <-done:
		t.Fatal("it ended with a call under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(s.release)
	if err := <-answer; err != nil {
		t.Errorf("the call under way is answered %v", err)
	}
	<-done
}

// A handler that does not return must hold up neither the end of the service nor those who
// wait for its answer. Which of grpc's two stops
// wins is a matter of luck, hence several runs.
func TestStopServer_CutsACallThatDoesNotEnd(t *testing.T) {
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			server, s, answer := called(t)
			done := stopped(server, 10*time.Millisecond)
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Error("it waits for the handler")
			}
			if err := <-answer; status.Code(err) != codes.Unavailable {
				t.Errorf("the call is answered %v, want Unavailable", err)
			}
			close(s.release)
			<-done
		})
	}
}

// A stream that would last for ever ends when the server stops, and does not make it wait.
func TestStopServer_EndsStreams(t *testing.T) {
	s := slow{entered: make(chan struct{})}
	server := transport.NewServer(slog.New(slog.DiscardHandler))
	grpc_health_v1.RegisterHealthServer(server, s)
	conn := serve(t, server)
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-s.entered
	select {
	case <-stopped(server, time.Hour):
	case <-time.After(time.Minute):
		t.Fatal("it waits for the stream")
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "the server stops" {
		t.Errorf("the stream ended with %v, want what its handler answers", err)
	}
}
