package services_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services"
)

// withoutRules are the methods whose requests can break no rule, with the reason.
var withoutRules = map[protoreflect.FullName]string{
	"quadrille.price.v1.Prices.Keys": "the request has no fields",
}

// Each gRPC method that a service registers refuses requests that break the rules of its proto
// file. One whose request has no rules is a fault, unless it is named above.
func TestEachMethodKeepsItsRules(t *testing.T) {
	seen := make(map[protoreflect.FullName]bool)
	for _, spec := range services.All() {
		described, err := service.Describe(spec)
		if err != nil {
			t.Fatal(err)
		}
		if described.Services == nil {
			continue
		}
		// Nothing is behind them: a request that is not refused fails with another code.
		conn := servicetest.ServeCalls(t, described.Services)
		for _, path := range described.Serves {
			if path == httpcall.Method {
				continue // carries HTTP, whose own routes check it
			}
			name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."))
			found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
			if err != nil {
				t.Errorf("%s is described by no proto file: %v", path, err)
				continue
			}
			seen[name] = true
			checkRules(t, conn, path, found.(protoreflect.MethodDescriptor))
		}
	}
	for name := range withoutRules {
		if !seen[name] {
			t.Errorf("%s is excepted and is no method any more", name)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d methods were called", len(seen))
	}
}

func checkRules(t *testing.T, conn *grpc.ClientConn, path string, method protoreflect.MethodDescriptor) {
	t.Helper()
	bad := breaking(t, method.Input())
	reason, excepted := withoutRules[method.FullName()]
	switch {
	case len(bad) == 0 && !excepted:
		t.Errorf("%s: no rule of its request can be broken: add rules to its proto file", path)
	case len(bad) > 0 && excepted:
		t.Errorf("%s is excepted (%s) and has rules", path, reason)
	}
	for _, req := range bad {
		if err := call(t, conn, path, method, req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s(%.200v) = %v, want InvalidArgument", path, req, err)
		}
	}
}

// breaking returns requests that break rules: the empty one, and one for each field that has
// a value which no rule of a name, a number or a list allows.
func breaking(t *testing.T, desc protoreflect.MessageDescriptor) (bad []proto.Message) {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(desc.FullName())
	if err != nil {
		t.Fatal(err)
	}
	tried := []proto.Message{kind.New().Interface()}
	for i := range desc.Fields().Len() {
		m := kind.New()
		spoil(m, desc.Fields().Get(i))
		tried = append(tried, m.Interface())
	}
	for _, m := range tried {
		if protovalidate.Validate(m) != nil {
			bad = append(bad, m)
		}
	}
	return bad
}

// spoil gives a field a value that is too long, below zero or no name.
func spoil(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	if field.IsList() {
		list := m.Mutable(field).List()
		item := list.NewElement()
		if field.Kind() == protoreflect.MessageKind {
			spoil(item.Message(), field.Message().Fields().Get(0))
		} else {
			item = spoilt(field)
		}
		list.Append(item)
		return
	}
	if field.Kind() != protoreflect.MessageKind {
		m.Set(field, spoilt(field))
	}
}

func spoilt(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Repeat("no name ", 1<<18))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1)
	default:
		return field.Default()
	}
}

// call makes a call, of a stream with one request, and returns how it ended.
func call(t *testing.T, conn *grpc.ClientConn, path string, method protoreflect.MethodDescriptor, req proto.Message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	answer := kind.New().Interface()
	if !method.IsStreamingClient() && !method.IsStreamingServer() {
		return conn.Invoke(ctx, path, req, answer)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer()}, path)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(req); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(answer); err != nil {
			return err
		}
	}
}
