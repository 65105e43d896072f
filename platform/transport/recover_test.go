package transport_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/transport"
)

// bad panics, in a unary and in a streaming method.
type bad struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (bad) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	panic("index out of luck")
}

func (bad) Watch(*grpc_health_v1.HealthCheckRequest, grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	panic("index out of luck")
}

func TestRecover_AnswersInternalAndTellsWhere(t *testing.T) {
	var log bytes.Buffer // written before the answer is sent
	server := grpc.NewServer(transport.Recover(slog.New(slog.NewTextHandler(&log, nil)))...)
	grpc_health_v1.RegisterHealthServer(server, bad{})
	ln := bufconn.Listen(64 << 10)
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := grpc_health_v1.NewHealthClient(conn)
	for name, call := range map[string]func() error{
		"Check": func() error {
			_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			return err
		},
		"Watch": func() error {
			stream, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			if err := call(); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "luck") {
				t.Errorf("the caller gets %v, want Internal and no more", err)
			}
			for _, want := range []string{"index out of luck", "bad." + name, "recover_test.go", "/grpc.health.v1.Health/" + name} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %q in the log: %s", want, log.String())
				}
			}
		})
	}
}
