package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/tokentest"
)

// patience is how long an answer may take on a machine that is busy.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a gateway on a port, before services that tests make.
type shop struct {
	t        testing.TB
	identity *tokentest.Identity
	addr     string
	gateway  *gateway
	client   *http.Client

	mu       sync.Mutex
	services map[string]*httpcall.Listener
}

// open starts a gateway with these settings. Callers prove themselves with tokens.
func open(t testing.TB, env map[string]string) *shop {
	t.Helper()
	s := &shop{t: t, identity: tokentest.New(t), services: make(map[string]*httpcall.Listener)}
	keys := token.NewRemote(s.identity.URL, slog.New(slog.DiscardHandler))
	servicetest.Run(t, keys.Run)
	requests := httpcall.NewTransport(s.dial)
	t.Cleanup(requests.CloseIdleConnections)
	reader := config.NewReader(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	log := slog.New(slog.DiscardHandler)
	kit := &service.Kit{
		Config: reader, HTTP: requests, Verifier: token.NewVerifier(s.identity.URL, keys), Log: log,
		Metrics: telemetry.NewMetrics("gateway"), API: rest.API{Log: log},
	}
	set := readSettings(reader)
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	s.gateway = newGateway(kit, set)
	servicetest.Run(t, s.gateway.closeShared)
	servicetest.Run(t, s.gateway.routes.watch)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	serve(t, rest.NewConnLimit(rest.LimitEach(ln, set.connsOfEach, set.proxies.contain), set.conns), s.gateway.handler())
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// serve runs an HTTP server until the test ends, as services do.
func serve(t testing.TB, ln *rest.ConnLimit, h http.Handler) {
	t.Helper()
	t.Cleanup(func() { _ = ln.Close() })
	servicetest.Run(t, service.Serve(ln, h))
}

func (s *shop) dial(ctx context.Context, name string) (net.Conn, error) {
	s.mu.Lock()
	l := s.services[name]
	s.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("%s does not run", name)
	}
	return l.Dial(ctx)
}

// service starts a service. It ends before the gateway does.
func (s *shop) service(name string, h http.Handler) {
	s.t.Helper()
	l := httpcall.NewListener()
	serve(s.t, rest.NewConnLimit(l, 4_096), h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[name] = l
}

// echo answers with what a service gets: the request's line, then its headers.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s\n", r.Method, r.RequestURI)
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(w, "\n%s", body)
}

func (s *shop) token(id string) string { return s.identity.Token(caller.Caller{ID: id}) }

// raw sends a text to the port as it is, and returns the status and the rest of the answer.
func (s *shop) raw(text string) (status int, answer string) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// get sends a request with headers, "name: value" each.
func (s *shop) get(path string, headers ...string) (status int, answer string) {
	return s.raw("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" + lines(headers) + "\r\n")
}

func lines(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	return strings.Join(headers, "\r\n") + "\r\n"
}
