package caller_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
)

// bearers verifies tokens by a list.
type bearers map[string]caller.Caller

func (b bearers) Verify(_ context.Context, token string) (caller.Caller, error) {
	c, ok := b[token]
	if !ok {
		return c, fault.New(fault.Unauthorized, "token_invalid", "no")
	}
	return c, nil
}

func TestTheTokenSaysWhoCalls(t *testing.T) {
	g := &caller.Guard{Verifier: bearers{"good": {ID: "c1", Company: "acme", Scopes: []string{"approver"}}}}
	mux := http.NewServeMux()
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, known := caller.From(r.Context())
		fmt.Fprintf(w, "%v %s %v %v", known, c, c.Anonymous(), c.Scopes)
	})
	mux.Handle("/", g.Handler(who))
	mux.Handle("/open", g.Open(who))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	const c1, nobody = "true c1; company=acme false [approver]", "true  true []"
	for name, c := range map[string]struct {
		lines        string
		status, open int
		body, opened string // of what is let in
	}{
		"a token":                {"Authorization: Bearer good\r\n", 200, 200, c1, c1},
		"in small letters":       {"authorization: bearer good\r\n", 200, 200, c1, c1},
		"no token":               {"", 401, 200, "", nobody},
		"a bad one":              {"Authorization: Bearer bad\r\n", 401, 401, "", ""},
		"an empty one":           {"Authorization: Bearer \r\n", 401, 401, "", ""},
		"other credentials":      {"Authorization: Basic YTpi\r\n", 401, 200, "", nobody},
		"two tokens":             {"Authorization: Bearer good\r\nAuthorization: Bearer bad\r\n", 400, 400, "", ""},
		"the same twice":         {"Authorization: Bearer good\r\nauthorization: Bearer good\r\n", 400, 400, "", ""},
		"an edge's header":       {"Quadrille-Caller: c2\r\n", 400, 400, "", ""},
		"both":                   {"Authorization: Bearer good\r\nQuadrille-Caller: c2\r\n", 400, 400, "", ""},
		"with underscores":       {"Authorization: Bearer good\r\nquadrille_caller: c2\r\n", 400, 400, "", ""},
		"named in Connection":    {"Authorization: Bearer good\r\nConnection: Quadrille-Caller\r\n", 400, 400, "", ""},
		"in a header of another": {"X-Forwarded-User: c1\r\nProxy-Authorization: Bearer good\r\n", 401, 200, "", nobody},
	} {
		t.Run(name, func(t *testing.T) {
			addr := server.Listener.Addr().String()
			if status, body := send(t, addr, c.lines+none); status != c.status || status == http.StatusOK && body != c.body {
				t.Errorf("answered %d %s, want %d %s", status, body, c.status, c.body)
			}
			if status, body := sendTo(t, addr, "/open", c.lines+none); status != c.open || status == http.StatusOK && body != c.opened {
				t.Errorf("an open route answered %d %s, want %d %s", status, body, c.open, c.opened)
			}
		})
	}
}

// Behind an edge an open route knows strangers too; with neither edge nor verifier nobody is
// known anywhere.
func TestOpenRoutesBehindAnEdge(t *testing.T) {
	for required, want := range map[bool]string{true: "true true", false: "false true"} {
		g := &caller.Guard{Required: required}
		server := httptest.NewServer(g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, known := caller.From(r.Context())
			fmt.Fprintf(w, "%v %v", known, c.Anonymous())
		})))
		t.Cleanup(server.Close)
		if status, body := send(t, server.Listener.Addr().String(), none); status != http.StatusOK || body != want {
			t.Errorf("required %v: %d %s, want %s", required, status, body, want)
		}
	}
}

func TestWhoIsAnonymousOwnsNothing(t *testing.T) {
	ctx := caller.With(t.Context(), caller.Caller{})
	if caller.Is(ctx, "c1") || caller.Is(ctx, "") || caller.ActsFor(ctx, "acme") || caller.ActsFor(ctx, "") || caller.Has(ctx, caller.ScopePrices) {
		t.Error("somebody anonymous owns something")
	}
}

// An edge says who calls, and lets through what each may do: it names no scopes.
func TestScopesBehindAnEdge(t *testing.T) {
	var has bool
	handler := (&caller.Guard{}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		has = caller.Has(r.Context(), caller.ScopePrices) && caller.Is(r.Context(), "c1") && !caller.Is(r.Context(), "c2")
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set(caller.Header, "c1")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if !has {
		t.Error("what the edge let through is refused")
	}
}

func TestScopes(t *testing.T) {
	ctx := caller.With(t.Context(), caller.Caller{ID: "c1", Scopes: []string{caller.ScopeApprover}})
	if err := caller.CheckScope(ctx, caller.ScopeApprover); err != nil {
		t.Error(err)
	}
	if f := fault.Of(caller.CheckScope(ctx, caller.ScopeOperator)); f.Kind != fault.Forbidden || f.Code != "scope_missing" {
		t.Error(f)
	}
	if !caller.Has(t.Context(), caller.ScopeOperator) {
		t.Error("where nobody is known, nothing is checked")
	}
}
