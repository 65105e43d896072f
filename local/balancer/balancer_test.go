package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a replica that says its name, and can stop being ready.
type backend struct {
	name     string
	draining atomic.Bool
	*httptest.Server
}

func newBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{name: name}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" && b.draining.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, b.name)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) at() string { return strings.TrimPrefix(b.URL, "http://") }

// begin runs a balancer before backends, and returns what asks it on a new connection.
func begin(t *testing.T, backends ...*backend) (*front, func() (string, error)) {
	t.Helper()
	var list []string
	for _, b := range backends {
		list = append(list, b.at()+"@"+b.at())
	}
	f, err := parseFront("127.0.0.1:0=" + strings.Join(list, ","))
	if err != nil {
		t.Fatal(err)
	}
	f.lookTimeout = time.Minute // one that answers late on a busy machine is ready all the same
	ctx, cancel := context.WithCancel(context.Background())
	if err := f.listen(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.serve(ctx, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	return f, func() (string, error) {
		res, err := client.Get("http://" + f.ln.Addr().String())
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return string(text), err
	}
}

func awaitReady(t *testing.T, r *replica, want bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); r.ready.Load() != want; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is not seen to be ready=%v", r.addr, want)
		}
	}
}

func TestConnectionsAreSharedOut(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	f, ask := begin(t, a, b)
	for _, r := range f.replicas {
		awaitReady(t, r, true)
	}
	seen := map[string]int{}
	for range 20 {
		name, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		seen[name]++
	}
	if seen["a"] != 10 || seen["b"] != 10 {
		t.Errorf("answered %v, want 10 each", seen)
	}
}

// One that stops is given nothing more while its port is still open.
func TestAReplicaThatDrainsGetsNoMore(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	f, ask := begin(t, a, b)
	for _, r := range f.replicas {
		awaitReady(t, r, true)
	}
	a.draining.Store(true)
	awaitReady(t, f.replicas[0], false)
	for range 10 {
		if name, err := ask(); err != nil || name != "b" {
			t.Fatalf("%q answered, %v; want b", name, err)
		}
	}
	a.draining.Store(false)
	awaitReady(t, f.replicas[0], true)
}

// A killed one is passed over before anybody noticed.
func TestAReplicaThatIsGoneIsPassedOver(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	f, ask := begin(t, a, b)
	for _, r := range f.replicas {
		awaitReady(t, r, true)
	}
	a.Close()
	for range 10 {
		if name, err := ask(); err != nil || name != "b" {
			t.Fatalf("%q answered, %v; want b", name, err)
		}
	}
}

func TestParseFront(t *testing.T) {
	for _, wrong := range []string{"", "127.0.0.1:1", "127.0.0.1:1=127.0.0.1:2", "127.0.0.1:1=127.0.0.1:2@127.0.0.1:3,127.0.0.1:4"} {
		if _, err := parseFront(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	if err := run(t.Context(), nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it runs without a front")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	args := []string{"-front", fmt.Sprintf("%s=127.0.0.1:1@127.0.0.1:1", taken.Addr())}
	if err := run(t.Context(), args, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it runs on a port that is taken")
	}
}
