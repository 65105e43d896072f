package rest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// streaming serves streams under bounds, with deadlines for requests that are shorter than
// the streams last. They send line after line.
type streaming struct {
	limits *rest.Limits
	addr   string
}

func serveStreams(t *testing.T, requests, streams int, deadlines time.Duration) *streaming {
	t.Helper()
	s := &streaming{limits: rest.NewLimits(requests, streams)}
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stream", api.Stream(func(w http.ResponseWriter, _ *http.Request, begin rest.Begin) error {
		ctx, err := begin()
		if err != nil {
			return err
		}
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for {
			if _, err := io.WriteString(w, "line\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-again.C:
			}
		}
	}))
	mux.HandleFunc("GET /refused", api.Stream(func(http.ResponseWriter, *http.Request, rest.Begin) error {
		return fault.New(fault.NotFound, "order_not_found", "There is none.")
	}))
	mux.HandleFunc("GET /short", api.Handle(func(w http.ResponseWriter, _ *http.Request) error { return rest.Write(w, 200, "ok") }))
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := rest.NewServer(s.limits.Handler(mux))
	srv.ReadTimeout, srv.WriteTimeout = deadlines, deadlines
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		s.limits.EndStreams()
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	s.addr = "http://" + ln.Addr().String()
	return s
}

func (s *streaming) get(t *testing.T, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// A stream outlasts the deadlines of requests, and is not among those that are under way;
// there are as many as the bound says.
func TestStreamsLast(t *testing.T) {
	const deadlines = 3 * time.Second
	s := serveStreams(t, 1, 2, deadlines)
	var open [2]*bufio.Scanner
	for i := range open {
		open[i] = bufio.NewScanner(s.get(t, "/stream").Body) //nolint:bodyclose // get closes it
	}
	for until := time.Now().Add(deadlines * 4 / 3); time.Now().Before(until); {
		for _, lines := range open {
			if !lines.Scan() {
				t.Fatalf("the stream ended: %v", lines.Err())
			}
		}
	}
	if res := s.get(t, "/short"); res.StatusCode != http.StatusOK { //nolint:bodyclose // get closes it
		t.Errorf("with two streams a request was answered %d", res.StatusCode)
	}
	if res := s.get(t, "/stream"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" { //nolint:bodyclose // get closes it
		t.Errorf("a third stream was answered %d", res.StatusCode)
	}
	if res := s.get(t, "/refused"); res.StatusCode != http.StatusNotFound { //nolint:bodyclose // get closes it
		t.Errorf("what is refused before it begins was answered %d", res.StatusCode)
	}
}

// Streams end with the service, and by the caller's going away, and make room.
func TestStreamsEnd(t *testing.T) {
	s := serveStreams(t, 2, 1, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.addr+"/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(gone.Body).ReadString('\n')
	cancel()
	_ = gone.Body.Close()
	var res *http.Response
	for deadline := time.Now().Add(patience); ; {
		if res = s.get(t, "/stream"); res.StatusCode == http.StatusOK || time.Now().After(deadline) { //nolint:bodyclose // get closes it
			break
		}
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "line\n" || err != nil {
		t.Fatalf("the caller who went away has left no room: %d, %v", res.StatusCode, err)
	}
	s.limits.EndStreams()
	for err = nil; err == nil; _, err = lines.ReadString('\n') {
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("when the service stops the stream ends with %v, want EOF", err)
	}
}
