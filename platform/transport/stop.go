package transport

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"quadrille.internal/platform/httpcall"
)

// StopTimeout is what events, calls and requests under way have at the end of a service.
const StopTimeout = 4 * time.Second

// Server serves the calls of other services.
type Server struct {
	*grpc.Server
	endStreams context.CancelFunc
}

// NewServer returns a server with the options of Recover. The contexts of its streams end
// when it stops, since those who stream do not know of it otherwise.
func NewServer(log *slog.Logger, options ...grpc.ServerOption) *Server {
	ending, end := context.WithCancel(context.Background())
	streams := grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if info.FullMethod == httpcall.Method {
			return next(srv, s) // a connection, which its HTTP server ends once its requests are answered
		}
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		defer context.AfterFunc(ending, cancel)()
		return next(srv, &endingStream{s, ctx})
	})
	return &Server{grpc.NewServer(append(append(Recover(log), streams), options...)...), end}
}

// endingStream is a stream whose context ends with the server too.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is the stream's
}

// Context implements grpc.ServerStream.
func (s *endingStream) Context() context.Context { return s.ctx }

// StopWithin takes no more calls and waits for those under way, at most that long: the
// connections of the rest are cut, and their handlers left to themselves.
func (s *Server) StopWithin(atMost time.Duration) {
	s.endStreams()
	done := make(chan struct{})
	go func() { defer close(done); s.GracefulStop() }()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		// Stop cuts the connections, then both wait: GracefulStop for the handlers, with a
		// lock that Stop needs to end.
		go s.Stop()
	}
}
