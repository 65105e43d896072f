// Package standintest runs a stand-in for its tests: within the test, or as
// the real binary.
package standintest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"quadrille.internal/local/standin"
)

// Key is the API key of every server under test.
const Key = "sk_test"

// Server is a running stand-in with its state file, and a client of it. The
// client opens a connection per request: on a reused one net/http retries a
// cut request by itself when it carries an Idempotency-Key.
type Server struct {
	T      testing.TB
	Config standin.Config
	URL    string
	Client *http.Client

	program standin.Program
	cancel  context.CancelFunc
	ended   func() error // waits until the server has ended
}

// Start runs the program on a free port, with a state file of its own and
// waits of 10 ms.
func Start(t testing.TB, program standin.Program) *Server {
	t.Helper()
	s := Prepare(t, program)
	s.Start()
	return s
}

// Prepare makes a server that does not run yet.
func Prepare(t testing.TB, program standin.Program) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		T: t,
		Config: standin.Config{
			Addr:      "127.0.0.1:0",
			StateFile: filepath.Join(dir, "state.jsonl"),
			KeyFile:   filepath.Join(dir, "key"),
			Slow:      10 * time.Millisecond,
		},
		Client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		program: program,
	}
	if err := os.WriteFile(s.Config.KeyFile, []byte(Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Start runs a server that was prepared or stopped.
func (s *Server) Start() {
	s.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	address := make(chan net.Addr, 1)
	done := make(chan struct{})
	var failure error
	go func() {
		defer close(done)
		failure = s.program.Run(ctx, s.Config, slog.New(slog.DiscardHandler), func(a net.Addr) { address <- a })
	}()
	s.cancel = cancel
	s.ended = func() error { <-done; return failure }
	s.T.Cleanup(func() { cancel(); <-done })
	select {
	case a := <-address:
		s.URL = "http://" + a.String()
	case <-done:
		s.T.Fatalf("start: %v", failure)
	}
}

// Wait returns once the server has ended by itself, and why.
func (s *Server) Wait() error { return s.ended() }

// Stop ends the server as SIGTERM would.
func (s *Server) Stop() {
	s.T.Helper()
	s.cancel()
	if err := s.ended(); err != nil {
		s.T.Fatalf("stop: %v", err)
	}
}

// Restart stops the server and starts it again with the same state.
func (s *Server) Restart() {
	s.T.Helper()
	s.Stop()
	s.Start()
}

// Refusal returns why a server with the same configuration does not start.
func (s *Server) Refusal() string {
	s.T.Helper()
	ctx, cancel := context.WithCancel(s.T.Context())
	defer cancel()
	err := s.program.Run(ctx, s.Config, slog.New(slog.DiscardHandler), func(net.Addr) { cancel() })
	if err == nil {
		s.T.Fatal("the server started")
	}
	return err.Error()
}

// Answer is a response, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Code of the error answered, "" for a success.
func (a Answer) Code() string { return a.err().Code }

// Param that the error answered names.
func (a Answer) Param() string { return a.err().Param }

func (a Answer) err() standin.Error {
	var e struct {
		Error standin.Error `json:"error"`
	}
	_ = json.Unmarshal([]byte(a.Body), &e)
	return e.Error
}

// Do calls the server; header holds names and values in turns.
func (s *Server) Do(ctx context.Context, method, path, body string, header ...string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewBufferString(body))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+Key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return Answer{Status: res.StatusCode, Header: res.Header, Body: string(raw)}, err
}

// Must reports a missing answer without ending the test: it also runs in
// goroutines, which may not.
func (s *Server) Must(method, path, body string, header ...string) Answer {
	s.T.Helper()
	a, err := s.Do(s.T.Context(), method, path, body, header...)
	if err != nil {
		s.T.Errorf("%s %s: %v", method, path, err)
	}
	return a
}

// Mode switches the server's mode; params is the body of the call.
func (s *Server) Mode(params string) {
	s.T.Helper()
	if a := s.Must(http.MethodPost, "/admin/mode", params); a.Status != http.StatusOK {
		s.T.Fatalf("mode %s: %d %s", params, a.Status, a.Body)
	}
}

// Parse decodes the body of an answer.
func Parse[T any](t testing.TB, a Answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("decode %q: %v", a.Body, err)
	}
	return v
}

// Expect ends the test unless the answer is as told; code "" is a success.
func Expect(t testing.TB, a Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code() != code {
		t.Fatalf("answer %d %s, want %d %s", a.Status, a.Body, status, code)
	}
}

// BreakDisk makes every further write to a file that this process has open
// fail: its descriptor becomes that of a file open for reading.
func BreakDisk(t testing.TB, path string) {
	t.Helper()
	fd := descriptor(t, path)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := syscall.Dup3(int(null.Fd()), fd, syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

func descriptor(t testing.TB, path string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("only Linux tells which descriptor is whose: %v", err)
	}
	for _, entry := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + entry.Name()); target != path {
			continue
		}
		var fd int
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	t.Fatalf("%s is not open", path)
	return 0
}
