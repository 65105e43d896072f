package service_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/tokentest"
)

// With identity set, every route but the open ones wants a token, and nobody else is
// believed. A static route wants one even where an open one matches its path.
func TestRoutesWantATokenUnlessTheyAreOpen(t *testing.T) {
	identity := tokentest.New(t)
	env := environment(t, startDaprd(t))
	env["QUADRILLE_IDENTITY_URL"] = identity.URL
	spec := asked()
	build := spec.Build
	spec.Build = func(kit *service.Kit) service.App {
		app := build(kit)
		app.OpenRoutes = func(r chi.Router) {
			r.Get("/v1/{open}", kit.API.Handle(func(w http.ResponseWriter, r *http.Request) error {
				c, known := caller.From(r.Context())
				w.Header().Set("Who", fmt.Sprintf("%v %q", known, c.ID))
				return rest.Write(w, http.StatusOK, "open")
			}))
		}
		return app
	}
	s := start(t, spec, env)
	s.eventually("/readyz", http.StatusOK)
	token := func(c caller.Caller) http.Header {
		return http.Header{"Authorization": {"Bearer " + identity.Token(c)}}
	}
	customer, operator := token(caller.Caller{ID: "c1"}), token(caller.Caller{ID: "op", Scopes: []string{caller.ScopeOperator}})
	for _, c := range []struct {
		route  string
		header http.Header
		status int
		who    string // of an open route
	}{
		{"GET /v1/who", customer, 200, ""},
		{"GET /v1/who", http.Header{}, 401, ""},
		{"GET /v1/who", http.Header{caller.Header: {"c1"}}, 400, ""},
		{"GET /v1/who", http.Header{"Authorization": {"Bearer " + adminToken}}, 401, ""},
		{"GET /v1/open", customer, 200, `true "c1"`},
		{"GET /v1/open", http.Header{}, 200, `true ""`},
		{"GET /v1/open", http.Header{"Authorization": {"Bearer x.y.z"}}, 401, ""},
		{"GET /v1/open", http.Header{caller.Header: {"c1"}}, 400, ""},
		{"GET /nowhere", http.Header{}, 401, ""},
		{"DELETE /v1/who", http.Header{}, 401, ""},
		{"GET /nowhere", customer, 404, ""},
		{"DELETE /v1/who", customer, 405, ""},
	} {
		if status, header := send(t, env["QUADRILLE_HTTP_ADDR"], c.route, c.header); status != c.status || header.Get("Who") != c.who {
			t.Errorf("%s with %v: %d %s, want %d %s", c.route, c.header, status, header.Get("Who"), c.status, c.who)
		}
	}
	// The admin port takes operators as who they are.
	for _, c := range []struct {
		header http.Header
		status int
	}{
		{operator, 200},
		{http.Header{"Authorization": {"Bearer " + adminToken}}, 200},
		{customer, 403},
		{http.Header{"Authorization": {"Bearer x.y.z"}}, 401},
		{http.Header{}, 401},
	} {
		if status, _ := send(t, env["QUADRILLE_ADMIN_ADDR"], "GET /v1/who", c.header); status != c.status {
			t.Errorf("the admin port with %v: %d, want %d", c.header, status, c.status)
		}
	}
}
