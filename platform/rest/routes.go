package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"quadrille.internal/platform/fault"
)

// methods are those that chi knows, in the order in which Allow lists them.
var methods = []string{
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace,
}

// Fallbacks makes a router answer problems for routes and methods it lacks, HEAD
// like GET, and OPTIONS with the methods of a route. It comes before the routes. What is
// between the router and these answers refuses requests that must not learn of routes.
func Fallbacks(r chi.Router, between ...func(http.Handler) http.Handler) {
	r.Use(middleware.GetHead)
	chain := chi.Chain(between...)
	r.NotFound(chain.HandlerFunc(notFound).ServeHTTP)
	r.MethodNotAllowed(chain.HandlerFunc(methodNotAllowed).ServeHTTP)
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allowed := methodsOf(r)
	if len(allowed) == 0 { // chi tells no unknown method from an unknown route
		notFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	WriteProblem(w, r, fault.New(fault.NotAllowed, "method_not_allowed", "%s is not possible here.", quote(r.Method)))
}

// Under reports whether a path is the one of a prefix, or below it: /v1/orders and
// /v1/orders/1 are under /v1/orders, /v1/orders-of-others is not.
func Under(prefix, path string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func notFound(w http.ResponseWriter, r *http.Request) {
	WriteProblem(w, r, fault.New(fault.NotFound, "no_such_route", "There is nothing at %s.", r.URL.Path))
}

// methodsOf returns the methods of a request's route, or none where there is no
// such route.
func methodsOf(r *http.Request) []string {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	routes := chi.RouteContext(r.Context()).Routes
	has := func(method string) bool { return routes.Match(chi.NewRouteContext(), method, path) }
	var allowed []string
	for _, m := range methods {
		if has(m) || m == http.MethodHead && slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 && !slices.Contains(allowed, http.MethodOptions) {
		allowed = append(allowed, http.MethodOptions)
		slices.Sort(allowed)
	}
	return allowed
}
