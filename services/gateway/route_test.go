package gateway

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/servicetest"
)

// put changes a route on the operators' port.
func (s *shop) put(body string) (status int, answer string) {
	s.t.Helper()
	r := chi.NewRouter()
	s.gateway.operatorRoutes(r)
	req := httptest.NewRequest(http.MethodPut, "/v1/routes", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, name, " ", r.RequestURI, " ", r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("Quadrille-Caller"))
	})
}

// The longest prefix decides, at the borders of parts of a path.
func TestRoutes(t *testing.T) {
	s := open(t, nil)
	for _, name := range []string{"order", "checkout", "b2b"} {
		s.service(name, named(name))
	}
	if status, answer := s.put(`{"prefix": "/v1/orders/old", "service": "checkout"}`); status != http.StatusOK || !strings.Contains(answer, `"kept":false`) {
		t.Fatalf("put: %d %s", status, answer)
	}
	for path, want := range map[string]string{
		"/v1/orders": "order", "/v1/orders/1": "order", "/v1/orders?x=1": "order", "/v1/orders/old": "checkout", "/v1/orders/old/1": "checkout",
		"/v1/orders/older": "order", "/v1/b2b/orders": "b2b", "/v1/ordersx": "", "/v1": "", "/": "",
	} {
		status, answer := s.get(path)
		if want == "" && (status != http.StatusNotFound || !strings.Contains(answer, "no_such_route")) || want != "" && !strings.HasPrefix(answer, want+" ") {
			t.Errorf("%s: %d %s, want %s", path, status, answer, want)
		}
	}
}

// An operator moves a prefix to a system outside and back while requests flow: not one fails,
// and afterwards all go the new way.
func TestRoutesChangeWhileRequestsFlow(t *testing.T) {
	s := open(t, unlimited)
	s.service("order", named("order"))
	old := httptest.NewServer(http.StripPrefix("/shop", named("old")))
	defer old.Close()
	stop := make(chan struct{})
	var flow sync.WaitGroup
	for range 4 {
		flow.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, answer := s.get("/v1/orders/1", "Quadrille-Caller: forged")
				if status != http.StatusOK || answer != "order /v1/orders/1 127.0.0.1 " && answer != "old /shop/v1/orders/1 127.0.0.1 " {
					t.Errorf("while the route changes: %d %q", status, answer)
				}
			}
		})
	}
	for range 10 {
		if status, answer := s.put(fmt.Sprintf(`{"prefix": "/v1/orders", "url": %q}`, old.URL+"/shop")); status != http.StatusOK {
			t.Errorf("put: %d %s", status, answer)
		}
		if _, answer := s.get("/v1/orders/1"); !strings.HasPrefix(answer, "old ") {
			t.Errorf("after the change out: %s", answer)
		}
		if status, answer := s.put(`{"prefix": "/v1/orders"}`); status != http.StatusOK || strings.Contains(answer, old.URL) {
			t.Errorf("put: %d %s", status, answer)
		}
		if _, answer := s.get("/v1/orders/1"); !strings.HasPrefix(answer, "order ") {
			t.Errorf("after the change back: %s", answer)
		}
	}
	close(stop)
	flow.Wait()
	http.DefaultClient.CloseIdleConnections()
}

func TestRoutesThatCannotBe(t *testing.T) {
	s := open(t, nil)
	for body, want := range map[string]string{
		`{"prefix": "/v1/orders", "service": "nobody"}`:                                  "unknown_service",
		`{"prefix": "/v1/orders", "service": "order", "url": "http://old.example"}`:      "malformed",
		`{"prefix": "v1/orders", "service": "order"}`:                                    "malformed",
		`{"prefix": "/v1/orders/", "service": "order"}`:                                  "malformed",
		`{"prefix": "/", "service": "order"}`:                                            "malformed",
		`{"prefix": "", "service": "order"}`:                                             "malformed",
		`{"prefix": "/v1/../orders", "service": "order"}`:                                "malformed",
		`{"prefix": "/v1/orders*", "service": "order"}`:                                  "malformed",
		`{"prefix": "/v1/orders%20", "service": "order"}`:                                "malformed",
		`{"prefix": "/v1/caf\u00e9", "service": "order"}`:                                "malformed",
		`{"prefix": "/v1/orders", "url": "old.example"}`:                                 "malformed",
		`{"prefix": "/v1/orders", "url": "file:///etc/passwd"}`:                          "malformed",
		`{"prefix": "/v1/orders", "url": "HTTPS://old.example"}`:                         "malformed",
		`{"prefix": "/v1/orders", "url": "https://\u00f6ld.example"}`:                    "malformed",
		`{"prefix": "/v1/orders", "url": "http://user:password@old.example"}`:            "malformed",
		`{"prefix": "/v1/orders", "url": "http://old.example/?x=1", "service": "order"}`: "malformed",
	} {
		if status, answer := s.put(body); status != http.StatusBadRequest && status != http.StatusNotFound || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want %s", body, status, answer, want)
		}
	}
}

// Two gateways that are told of routes at the same moment keep both, though neither has looked
// at the file since the other wrote it.
func TestGatewaysDoNotUndoEachOthersRoutes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	gateways := []*routes{newRoutes(file, slog.New(slog.DiscardHandler)), newRoutes(file, slog.New(slog.DiscardHandler))}
	var changes sync.WaitGroup
	for i, g := range gateways {
		changes.Go(func() {
			for n := range 20 {
				if err := g.change(Route{Prefix: fmt.Sprintf("/v1/orders/%d-%d", i, n), Service: "checkout"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changes.Wait()
	if kept := newRoutes(file, slog.New(slog.DiscardHandler)).now.Load().changed; len(kept) != 40 {
		t.Errorf("%d routes are kept, want 40", len(kept))
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := gateways[0].change(Route{Prefix: "/v1/orders", Service: "checkout"}); err == nil {
		t.Error("a file that cannot be read is overwritten")
	}
}

// With a file, changes outlast the process and reach the other gateways; a file that cannot
// be right changes nothing.
func TestRoutesAreKeptAndShared(t *testing.T) {
	env := map[string]string{"QUADRILLE_ROUTES_FILE": filepath.Join(t.TempDir(), "routes.json")}
	one, other := open(t, env), open(t, env)
	if status, answer := one.put(`{"prefix": "/v1/orders", "service": "checkout"}`); status != http.StatusOK || !strings.Contains(answer, `"kept":true`) {
		t.Fatalf("put: %d %s", status, answer)
	}
	leads := func(s *shop, service string) bool {
		route, _ := s.gateway.routes.now.Load().find("/v1/orders/1")
		return route.Service == service
	}
	servicetest.Await(t, "the other gateway has the route", func() bool { return leads(other, "checkout") })
	if !leads(open(t, env), "checkout") {
		t.Error("a new gateway begins without what the file has")
	}
	for _, wrong := range []string{"{", `[{"prefix": "/v1/orders", "service": "nobody"}]`} {
		if err := os.WriteFile(env["QUADRILLE_ROUTES_FILE"], []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := one.gateway.routes.load(); err == nil || !leads(one, "checkout") {
			t.Errorf("a file with %s: %v", wrong, err)
		}
	}
	text, _ := json.Marshal([]Route{})
	if err := os.WriteFile(env["QUADRILLE_ROUTES_FILE"], text, 0o600); err != nil {
		t.Fatal(err)
	}
	servicetest.Await(t, "the route is the service's again", func() bool { return leads(one, "order") && leads(other, "order") })
}
