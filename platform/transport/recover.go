package transport

import (
	"context"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Recover are the options by which a server answers Internal to a call that panics, and
// logs where it did: the process goes on, and nothing reads as done.
func Recover(log *slog.Logger) []grpc.ServerOption {
	answer := func(ctx context.Context, method string, err *error) {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "gRPC method panicked, its caller gets Internal", "method", method, "panic", p, "stack", string(debug.Stack()))
			*err = status.Error(codes.Internal, "the method panicked")
		}
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
			defer answer(ctx, info.FullMethod, &err)
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
			defer answer(stream.Context(), info.FullMethod, &err)
			return next(srv, stream)
		}),
	}
}
