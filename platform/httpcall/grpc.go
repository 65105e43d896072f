package httpcall

import (
	"context"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// chunk is what one message carries at most.
const chunk = 32 << 10

// Register serves Method: what comes goes to l.
func Register(r grpc.ServiceRegistrar, l *Listener) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: methodName, ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return l.serve(stream) },
		}},
	}, nil)
}

// serve joins a stream to a connection, until one of them ends.
func (l *Listener) serve(stream grpc.ServerStream) error {
	ctx, cancel := context.WithTimeout(stream.Context(), connectTimeout)
	defer cancel()
	c, err := l.Dial(ctx)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer c.Close()
	if err := stream.SendMsg(&wrapperspb.BytesValue{}); err != nil { // says that it is connected
		return err
	}
	go func() { // ends with the stream, which ends when this method returns
		defer c.Close()
		_ = receive(c, stream)
	}()
	_ = send(stream, c) // the peer sees that the stream ends
	return nil
}

// Open connects to a service by a gRPC connection to it. ctx is for the opening only.
func Open(ctx context.Context, to grpc.ClientConnInterface) (net.Conn, error) {
	living, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	stream, err := to.NewStream(living, &grpc.StreamDesc{StreamName: methodName, ClientStreams: true, ServerStreams: true}, Method)
	if err == nil {
		err = stream.RecvMsg(new(wrapperspb.BytesValue))
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		_ = receive(theirs, stream)
	}()
	go func() {
		defer cancel() // the callee need not wait for more
		_ = send(stream, theirs)
	}()
	return conn{ours}, nil
}

// messages are those of a stream, at either end.
type messages interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

func receive(to io.Writer, from messages) error {
	for {
		m := new(wrapperspb.BytesValue)
		if err := from.RecvMsg(m); err != nil {
			return err
		}
		if _, err := to.Write(m.GetValue()); err != nil {
			return err
		}
	}
}

func send(to messages, from io.Reader) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		// A message is not to be changed once it was sent.
		if err := to.SendMsg(&wrapperspb.BytesValue{Value: append([]byte(nil), buffer[:n]...)}); err != nil {
			return err
		}
	}
}
