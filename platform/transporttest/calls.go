package transporttest

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The suite's calls bear the names of real ones, which b2b may make and nobody else, and
// carry a text that says how to answer.
const (
	serviceAllocations = "quadrille.inventory.v1.Allocations"
	methodAllocate     = "/" + serviceAllocations + "/Allocate"
	methodOther        = "/" + serviceAllocations + "/Other"
)

var allocations = grpc.ServiceDesc{
	ServiceName: serviceAllocations,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Allocate", Handler: handleAllocate}, {MethodName: "Other", Handler: handleAllocate}},
}

func handleAllocate(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	req := new(wrapperspb.StringValue)
	if err := decode(req); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{FullMethod: methodAllocate}
	return intercept(ctx, req, info, func(ctx context.Context, _ any) (any, error) { return allocate(ctx, req) })
}

func allocate(ctx context.Context, req *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	switch req.GetValue() {
	case "refuse":
		return nil, status.Error(codes.FailedPrecondition, "released before")
	case "panic":
		panic("as the test wants")
	case "wait":
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	default:
		return req, nil
	}
}

// A call is answered, with the status and within the deadline that caller and callee set.
// What the caller does not declare is denied.
func calls(t *testing.T, h Harness) {
	w := newWorld(t, h)
	p := w.start(map[string]*subscriber{"b2b": w.subscriber(nil), "payment": w.subscriber(nil), "inventory": w.subscriber(nil)})
	for _, c := range []struct {
		from, method, say string
		want              codes.Code
	}{
		{"b2b", methodAllocate, "TEA", codes.OK},
		{"b2b", methodAllocate, "refuse", codes.FailedPrecondition},
		{"b2b", methodAllocate, "panic", codes.Internal},
		{"b2b", methodAllocate, "wait", codes.DeadlineExceeded},
		{"b2b", methodOther, "TEA", codes.PermissionDenied},
		{"payment", methodAllocate, "TEA", codes.PermissionDenied},
	} {
		limit := h.again()
		if c.want == codes.DeadlineExceeded {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		answer := new(wrapperspb.StringValue)
		err := p.joined[c.from].Calls("inventory").Invoke(ctx, c.method, wrapperspb.String(c.say), answer)
		cancel()
		if status.Code(err) != c.want || err == nil && answer.GetValue() != c.say {
			t.Errorf("%s calls %s (%s): %v, want %v", c.from, c.method, c.say, err, c.want)
		}
	}
}
