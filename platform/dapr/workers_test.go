package dapr

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/sidecar"
	"quadrille.internal/platform/transport"
)

// stuckDaprd stands for a sidecar that has so many workers, as it says, whatever streams there
// are. Told to end, it breaks them.
type stuckDaprd struct {
	runtimev1.UnimplementedDaprServer
	workers atomic.Pointer[runtimev1.MetadataWorkflows]
	away    atomic.Bool
	looks   atomic.Int32
	ends    atomic.Int32
	streams atomic.Int32
	broken  chan struct{}
}

func (d *stuckDaprd) GetMetadata(context.Context, *runtimev1.GetMetadataRequest) (*runtimev1.GetMetadataResponse, error) {
	d.looks.Add(1)
	if d.away.Load() {
		return nil, status.Error(codes.Unavailable, "away")
	}
	return &runtimev1.GetMetadataResponse{Workflows: d.workers.Load()}, nil
}

func (d *stuckDaprd) Shutdown(context.Context, *runtimev1.ShutdownRequest) (*emptypb.Empty, error) {
	d.ends.Add(1)
	d.broken <- struct{}{}
	return &emptypb.Empty{}, nil
}

// watched is a transport with such a sidecar, which it looks at so often. work begins a stream as a worker does and
// receives until it ends.
func watched(t *testing.T, d *stuckDaprd, every time.Duration) (work func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		d.streams.Add(1)
		select {
		case <-d.broken:
			return status.Error(codes.Unavailable, "ended")
		case <-s.Context().Done():
			return nil
		}
	}))
	runtimev1.RegisterDaprServer(server, d)
	s, err := sidecar.Dial(ln.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	tr := &Transport{Sidecar: s, member: transport.Member{Log: slog.New(slog.DiscardHandler)}, workers: make(chan context.Context, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	go func() { _ = server.Serve(ln); done <- struct{}{} }()
	go func() { tr.watchWorkers(ctx, every); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); _ = s.Close(); server.Stop(); <-done; <-done })
	return func() {
		stream, err := tr.Workflows().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, workItems)
		if err != nil {
			t.Errorf("begin a stream: %v", err)
			return
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
		go func() { _ = stream.RecvMsg(&emptypb.Empty{}); done <- struct{}{} }()
		t.Cleanup(func() { cancel(); <-done })
	}
}

// An engine that does not take in its worker is stuck: its sidecar is told to end. The next
// worker is watched as well.
func TestASidecarWhoseEngineIsStuckIsEnded(t *testing.T) {
	d := &stuckDaprd{broken: make(chan struct{}, 10)}
	d.workers.Store(&runtimev1.MetadataWorkflows{})
	work := watched(t, d, time.Millisecond)
	for n := range int32(2) {
		work()
		servicetest.Await(t, "the sidecar is told to end", func() bool { return d.ends.Load() > n })
	}
	if looks := d.looks.Load(); looks < 2*stuckAfter {
		t.Errorf("it was looked at %d times for two ends", looks)
	}
}

// No other sidecar is: one that has the worker, or does not tell, or cannot be asked.
func TestOtherSidecarsAreNotEnded(t *testing.T) {
	for name, c := range map[string]struct {
		workers *runtimev1.MetadataWorkflows
		away    bool
		looks   int32
	}{
		"it has the worker": {&runtimev1.MetadataWorkflows{ConnectedWorkers: 1}, false, 1},
		"it does not tell":  {nil, false, 1},
		"it is away":        {&runtimev1.MetadataWorkflows{}, true, 2 * stuckAfter},
	} {
		t.Run(name, func(t *testing.T) {
			d := &stuckDaprd{broken: make(chan struct{}, 10)}
			d.workers.Store(c.workers)
			d.away.Store(c.away)
			work := watched(t, d, time.Millisecond)
			work()
			servicetest.Await(t, "it was looked at", func() bool { return d.looks.Load() >= c.looks })
			if c.looks == 1 {
				<-time.After(4 * stuckAfter * time.Millisecond)
				if looks := d.looks.Load(); looks > 1 {
					t.Errorf("it was looked at %d times", looks)
				}
			}
			if n := d.ends.Load(); n > 0 {
				t.Errorf("it was told to end %d times", n)
			}
		})
	}
}

// Without a worker nothing is looked at: there is nothing to take in.
func TestAWorkerThatWentIsNotMissed(t *testing.T) {
	d := &stuckDaprd{broken: make(chan struct{}, 10)}
	d.workers.Store(&runtimev1.MetadataWorkflows{})
	work := watched(t, d, 100*time.Millisecond)
	work()
	servicetest.Await(t, "it was looked at", func() bool { return d.looks.Load() > 0 && d.streams.Load() > 0 })
	d.broken <- struct{}{}
	servicetest.Await(t, "looks have ended", func() bool {
		before := d.looks.Load()
		<-time.After(300 * time.Millisecond)
		return d.looks.Load() == before
	})
	if n := d.ends.Load(); n > 0 {
		t.Errorf("it was told to end %d times", n)
	}
}
