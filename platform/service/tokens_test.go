package service_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
)

// operated is a service with a route for operators.
func operated() service.Spec {
	s := spec(nil, nil)
	build := s.Build
	s.Build = func(kit *service.Kit) service.App {
		app := build(kit)
		app.OperatorRoutes = func(r chi.Router) {
			r.Put("/v1/stock", kit.API.Handle(func(w http.ResponseWriter, _ *http.Request) error {
				return rest.Write(w, http.StatusOK, "set")
			}))
		}
		return app
	}
	return s
}

func TestEverythingOnTheAdminPortWantsTheToken(t *testing.T) {
	s := start(t, operated(), environment(t, startDaprd(t)))
	s.eventually("/readyz", http.StatusOK)
	id := uuid.NewString()
	routes := map[string]int{
		"GET /parked": http.StatusOK, "GET /parked/" + id: http.StatusNotFound, "POST /parked/" + id + "/replay": http.StatusNotFound,
		"GET /debug/pprof/": http.StatusOK, "GET /debug/pprof/cmdline": http.StatusOK, "GET /debug/flight": http.StatusServiceUnavailable,
		"PUT /v1/stock": http.StatusOK, "DELETE /v1/stock": http.StatusMethodNotAllowed, "GET /nowhere": http.StatusNotFound,
	}
	for name, header := range map[string]http.Header{
		"nothing":            {},
		"a guess":            {"Authorization": {"Bearer guess"}},
		"no scheme":          {"Authorization": {adminToken}},
		"another scheme":     {"Authorization": {"Basic " + adminToken}},
		"the sidecar's":      {"Authorization": {"Bearer " + appToken}, "Dapr-Api-Token": {appToken}},
		"the other header":   {"Dapr-Api-Token": {adminToken}},
		"two headers":        {"Authorization": {"Bearer " + adminToken, "Bearer guess"}},
		"one too long":       {"Authorization": {"Bearer " + adminToken + "x"}},
		"the token in a URL": {"X-Query": {"?token=" + adminToken}},
	} {
		for route := range routes {
			status, answer := send(t, s.env["QUADRILLE_ADMIN_ADDR"], route+header.Get("X-Query"), header)
			if status != http.StatusUnauthorized || answer.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s with %s answered %d, want 401", route, name, status)
			}
		}
	}
	for route, want := range routes {
		if status, _ := send(t, s.env["QUADRILLE_ADMIN_ADDR"], route, http.Header{"Authorization": {"bearer " + adminToken}}); status != want {
			t.Errorf("%s with the token answered %d, want %d", route, status, want)
		}
	}
}

// What probes must reach shows no more than they need, and customers less.
func TestOtherPortsHaveNothingForOperators(t *testing.T) {
	s := start(t, operated(), environment(t, startDaprd(t)))
	s.eventually("/readyz", http.StatusOK)
	for _, c := range []struct {
		port   string
		routes []string
	}{
		{"QUADRILLE_HEALTH_ADDR", []string{"GET /parked", "GET /debug/pprof/", "GET /debug/flight", "PUT /v1/stock", "GET /v1/wait"}},
		{"QUADRILLE_HTTP_ADDR", []string{"GET /parked", "GET /debug/pprof/", "PUT /v1/stock", "GET /metrics", "GET /readyz", "GET /healthz"}},
		{"QUADRILLE_ADMIN_ADDR", []string{"GET /metrics", "GET /v1/wait"}},
	} {
		for _, route := range c.routes {
			if status, _ := send(t, s.env[c.port], route, http.Header{"Authorization": {"Bearer " + adminToken}}); status != http.StatusNotFound {
				t.Errorf("%s at %s answered %d, want 404", route, c.port, status)
			}
		}
	}
}

func send(t *testing.T, addr, route string, header http.Header) (int, http.Header) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header, req.Close = maps.Clone(header), true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header
}

var tokenNames = []string{"APP_API_TOKEN", "DAPR_API_TOKEN", "QUADRILLE_ADMIN_TOKEN"}

func TestWithoutItsTokensAServiceDoesNotStart(t *testing.T) {
	env := environment(t, startDaprd(t))
	for _, name := range tokenNames {
		delete(env, name)
	}
	err := run(t, env)
	if err == nil {
		t.Fatal("it ran")
	}
	for _, name := range tokenNames {
		if !strings.Contains(err.Error(), name+" is not set") {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
	env["QUADRILLE_INSECURE"] = "yes"
	if err := run(t, env); err == nil || !strings.Contains(err.Error(), "QUADRILLE_INSECURE") {
		t.Errorf("with QUADRILLE_INSECURE=yes Run = %v", err)
	}
}

// It starts when told so, says it at every start, and lets no operator in.
func TestAServiceToldToDoWithoutTokensWarns(t *testing.T) {
	env := environment(t, startDaprd(t))
	for _, name := range tokenNames {
		delete(env, name)
	}
	env["QUADRILLE_INSECURE"] = "no-tokens"
	s := start(t, operated(), env)
	s.eventually("/readyz", http.StatusOK)
	s.admin(http.MethodGet, "/parked", "", http.StatusUnauthorized)
	s.admin(http.MethodPut, "/v1/stock", "", http.StatusUnauthorized)
	if err := s.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if log := s.log.String(); !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, "QUADRILLE_INSECURE") {
		t.Errorf("the log does not warn:\n%s", log)
	}
}
