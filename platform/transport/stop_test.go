package transport_test

import (
	"context"
	"fmt"
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

// called serves a call, and returns when that is under way.
func called(t *testing.T) (server *grpc.Server, s slow, answer <-chan error) {
	t.Helper()
	s = slow{entered: make(chan struct{}), release: make(chan struct{})}
	server = grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, s)
	ln := bufconn.Listen(64 << 10)
	go func() { _ = server.Serve(ln) }()
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	answers := make(chan error, 1)
	go func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		answers <- err
	}()
	<-s.entered
	return server, s, answers
}

func stopped(server *grpc.Server, atMost time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); transport.StopServer(server, atMost) }()
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

// A handler that does not return must hold up neither the end of the service nor whoever
// waits for its answer. Which of grpc's two stops
// wins is a matter of luck, hence several runs.
func TestStopServer_CutsACallThatDoesNotEnd(t *testing.T) {
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			server, s, answer := called(t)
			done := stopped(server, 10*time.Millisecond)
			select {
			case <-done:
			case <-time.After(5 * time.Second):
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
