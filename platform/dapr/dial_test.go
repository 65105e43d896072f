package dapr

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/sidecar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialled stands for the sidecar and the replicas behind it, of which the first so many
// that it picks refuse with a code.
func dialled(t *testing.T, refusals int32, code codes.Code) (*Transport, *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	callee := httpcall.NewListener()
	var tries atomic.Int32
	server := grpc.NewServer(grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if tries.Add(1) <= refusals {
			return status.Error(code, "the app is gone")
		}
		return handle(srv, stream)
	}))
	httpcall.Register(server, callee)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })}
	done := make(chan struct{}, 2)
	go func() { _ = server.Serve(ln); done <- struct{}{} }()
	go func() { _ = web.Serve(callee); done <- struct{}{} }()
	s, err := sidecar.Dial(ln.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); _ = web.Close(); server.Stop(); <-done; <-done })
	return &Transport{Sidecar: s}, &tries
}

// The sidecar still knows a replica that takes no connection any more.
func TestAnotherReplicaIsDialled(t *testing.T) {
	d, tries := dialled(t, 3, codes.Unavailable)
	var c net.Conn
	var dials int32
	servicetest.Await(t, "a replica answers", func() (ok bool) { // one Dial has 0.6 s
		var err error
		c, err = d.Dial(t.Context(), "order")
		dials++
		return err == nil
	})
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: order\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); string(text) != "here" || tries.Load() != 4 || dials == 4 {
		t.Errorf("%q (%v) at attempt %d of %d dials, want the fourth to answer, and dials that try again", text, err, tries.Load(), dials)
	}
}

// What is refused for good is not asked again, and what stays away is given up.
func TestDialGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		code     codes.Code
		at, most int32
	}{
		"refused": {codes.PermissionDenied, 1, 1},
		"away":    {codes.Unavailable, 5, 60},
	} {
		t.Run(name, func(t *testing.T) {
			d, tries := dialled(t, 1_000_000, test.code)
			servicetest.Await(t, "there are attempts enough", func() bool { // in the 0.6 s that a dial has
				before := tries.Load()
				if _, err := d.Dial(t.Context(), "order"); status.Code(err) != test.code {
					t.Errorf("%v, want %s", err, test.code)
				}
				n := tries.Load() - before
				if n > test.most {
					t.Errorf("%d attempts, want %d at most", n, test.most)
				}
				return n >= test.at
			})
		})
	}
}
