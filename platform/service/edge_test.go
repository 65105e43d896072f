package service_test

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
)

// asked is a service that says who asks, on its public and its admin port.
func asked() service.Spec {
	s := spec(nil, nil)
	build := s.Build
	s.Build = func(kit *service.Kit) service.App {
		app := build(kit)
		who := func(r chi.Router) {
			r.Get("/v1/who", kit.API.Handle(func(w http.ResponseWriter, r *http.Request) error {
				c, known := caller.From(r.Context())
				return rest.Write(w, http.StatusOK, map[string]any{"known": known, "id": c.ID})
			}))
		}
		app.Routes, app.OperatorRoutes = who, who
		return app
	}
	return s
}

func TestBehindAnEdgeEveryRequestHasACaller(t *testing.T) {
	for setting, want := range map[string]map[string]int{
		"on": {
			"": http.StatusUnauthorized, "c1": http.StatusOK, "c1; company=acme": http.StatusOK, "c1, c2": http.StatusBadRequest,
		},
		"off": {
			"": http.StatusOK, "c1": http.StatusOK, "c1, c2": http.StatusBadRequest,
		},
	} {
		t.Run(setting, func(t *testing.T) {
			env := environment(t, startDaprd(t))
			env["QUADRILLE_BEHIND_EDGE"] = setting
			s := start(t, asked(), env)
			s.eventually("/readyz", http.StatusOK) // which no edge is asked for
			for value, status := range want {
				header := http.Header{}
				if value != "" {
					header.Set(caller.Header, value)
				}
				if got, _ := send(t, env["QUADRILLE_HTTP_ADDR"], "GET /v1/who", header); got != status {
					t.Errorf("caller %q is answered %d, want %d", value, got, status)
				}
			}
			// Nor are operators, whose header would mean nothing.
			header := http.Header{"Authorization": {"Bearer " + adminToken}, caller.Header: {"c1, c2"}}
			if got, _ := send(t, env["QUADRILLE_ADMIN_ADDR"], "GET /v1/who", header); got != http.StatusOK {
				t.Errorf("an operator is answered %d", got)
			}
		})
	}
}

// No request learns which paths there are before it says who asks.
func TestBehindAnEdgeUnknownPathsAreNotToldEither(t *testing.T) {
	env := environment(t, startDaprd(t))
	env["QUADRILLE_BEHIND_EDGE"] = "on"
	s := start(t, asked(), env)
	s.eventually("/readyz", http.StatusOK)
	for _, route := range []string{"GET /nowhere", "DELETE /v1/who"} {
		if got, _ := send(t, env["QUADRILLE_HTTP_ADDR"], route, http.Header{}); got != http.StatusUnauthorized {
			t.Errorf("%s is answered %d, want 401", route, got)
		}
	}
}
