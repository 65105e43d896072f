package httpcall_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/httpcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ways are how a connection gets to the listener of the callee.
var ways = map[string]func(*testing.T, *httpcall.Listener) func(context.Context, string) (net.Conn, error){
	"memory": func(_ *testing.T, l *httpcall.Listener) func(context.Context, string) (net.Conn, error) {
		return func(ctx context.Context, _ string) (net.Conn, error) { return l.Dial(ctx) }
	},
	"gRPC": func(t *testing.T, l *httpcall.Listener) func(context.Context, string) (net.Conn, error) {
		ln, server := bufconn.Listen(64<<10), grpc.NewServer()
		httpcall.Register(server, l)
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(ln) }()
		client, err := grpc.NewClient("passthrough:///callee", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = client.Close()
			server.Stop()
			<-served
		})
		return func(ctx context.Context, _ string) (net.Conn, error) { return httpcall.Open(ctx, client) }
	},
}

// serve runs a callee until the test ends, and returns a client of it.
func serve(t *testing.T, way string, h http.Handler) (*http.Client, *http.Server) {
	t.Helper()
	return serveWithin(t, way, time.Hour, h)
}

// serveWithin does so where requests must come within a time.
func serveWithin(t *testing.T, way string, readTimeout time.Duration, h http.Handler) (*http.Client, *http.Server) {
	t.Helper()
	l := httpcall.NewListener()
	server := &http.Server{Handler: h, ReadTimeout: readTimeout, ReadHeaderTimeout: time.Hour}
	transport := httpcall.NewTransport(ways[way](t, l)) // stops before the server's way does
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	return &http.Client{Transport: transport}, server
}

func each(t *testing.T, test func(t *testing.T, way string)) {
	for way := range ways {
		t.Run(way, func(t *testing.T) { test(t, way) })
	}
}

func TestRequestsAndAnswersTravelWhole(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		client, _ := serve(t, way, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s %s %s %d", r.Method, r.URL, r.RemoteAddr, r.Header.Get("X-Given"), len(body))
		}))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://order/v1/a%20b?x=1&x=2", strings.NewReader(strings.Repeat("x", 300_000)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Given", "yes")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		want := "POST /v1/a%20b?x=1&x=2 " + httpcall.RemoteAddr + " yes 300000"
		if err != nil || res.StatusCode != http.StatusTeapot || string(body) != want || len(res.Header["Set-Cookie"]) != 2 {
			t.Errorf("%d %s %v %v, want %s", res.StatusCode, body, res.Header, err, want)
		}
	})
}

// A part of an answer arrives while the rest is not written yet, and a caller that goes away
// ends the request.
func TestAnswersAreStreamed(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		gone := make(chan struct{})
		client, _ := serve(t, way, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(gone)
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Time{}) // by which the server tells that a caller is gone
			fmt.Fprintln(w, "first")
			if err := control.Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Done()
		}))
		res, err := client.Get("http://cart/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		if err != nil || line != "first\n" {
			t.Errorf("got %q, %v", line, err)
		}
		_ = res.Body.Close()
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Error("the callee does not learn that the caller is gone")
		}
	})
}

// The callee's own time-outs hold: a body that does not come is given up.
func TestTimeoutsOfTheCalleeHold(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		client, _ := serveWithin(t, way, 300*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("read a body that was not sent")
			}
			w.WriteHeader(http.StatusRequestTimeout)
		}))
		body, stalled := io.Pipe()
		defer stalled.Close()
		res, err := client.Post("http://order/v1/orders", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answered %d", res.StatusCode)
		}
	})
}

// A callee that does not run was provably not reached; one that stops within a request may
// have carried it out.
func TestWhatWasNotReachedIsTold(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		entered := make(chan struct{})
		var server *http.Server
		client, server := serve(t, way, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			close(entered)
			<-r.Context().Done()
		}))
		cut := make(chan error, 1)
		go func() { cut <- post(client) }()
		<-entered
		_ = server.Close()
		if _, dial := errors.AsType[*httpcall.DialError](<-cut); dial {
			t.Error("a request that was under way is told as not sent")
		}
		err := post(client)
		if e, dial := errors.AsType[*httpcall.DialError](err); !dial || e.Service != "order" {
			t.Errorf("a request to a service that stopped: %v", err)
		}
	})
}

func post(client *http.Client) error {
	res, err := client.Post("http://order/v1/orders", "text/plain", strings.NewReader("x"))
	if err == nil {
		_ = res.Body.Close()
		err = errors.New(res.Status)
	}
	return err
}

// A connection is kept for the next request, and does not depend on the one it was made for.
func TestConnectionsAreKept(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		var opened int
		l := httpcall.NewListener()
		dial := ways[way](t, l)
		transport := httpcall.NewTransport(func(ctx context.Context, service string) (net.Conn, error) {
			opened++
			return dial(ctx, service)
		})
		server := &http.Server{Handler: http.NotFoundHandler()}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(l) }()
		t.Cleanup(func() {
			transport.CloseIdleConnections()
			_ = server.Close()
			<-served
		})
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://order/", nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			cancel()
		}
		if opened != 1 {
			t.Errorf("%d connections for five requests, one after the other", opened)
		}
	})
}
