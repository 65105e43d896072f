// Package protorules has gRPC services refuse requests that break the rules of their proto
// files.
package protorules

import (
	"context"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Check answers InvalidArgument, with the fields at fault, to a request that breaks the rules
// of its proto file.
func Check(req proto.Message) error {
	if err := protovalidate.Validate(req); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// Checked registers services whose methods are called with requests that were checked, those
// of streams too: to a stream Recv returns what Check says.
func Checked(r grpc.ServiceRegistrar) grpc.ServiceRegistrar { return checked{r} }

type checked struct{ to grpc.ServiceRegistrar }

func (c checked) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods, d.Streams = make([]grpc.MethodDesc, len(desc.Methods)), make([]grpc.StreamDesc, len(desc.Streams))
	for i, m := range desc.Methods {
		d.Methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: unary(m.Handler)}
	}
	for i, s := range desc.Streams {
		d.Streams[i] = s
		d.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error { return s.Handler(srv, checkedStream{stream}) }
	}
	c.to.RegisterService(&d, impl)
}

// unary checks inside of the server's interceptors, which see what is refused.
func unary(method grpc.MethodHandler) grpc.MethodHandler {
	check := func(ctx context.Context, req any, next grpc.UnaryHandler) (any, error) {
		if err := Check(req.(proto.Message)); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
	return func(srv any, ctx context.Context, decode func(any) error, outer grpc.UnaryServerInterceptor) (any, error) {
		return method(srv, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			checkedNext := func(ctx context.Context, req any) (any, error) { return check(ctx, req, next) }
			if outer == nil {
				return checkedNext(ctx, req)
			}
			return outer(ctx, req, info, checkedNext)
		})
	}
}

type checkedStream struct{ grpc.ServerStream }

func (s checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return Check(m.(proto.Message))
}
