package rest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/rest"
)

// router has routes of every form that services use.
func router() http.Handler {
	ok := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = w.Write([]byte("ok"))
	}
	r := chi.NewRouter()
	rest.Fallbacks(r)
	r.Get("/v1/orders", ok)
	r.Post("/v1/orders", ok)
	r.Put("/v1/stock", ok)
	r.Handle("/metrics", http.HandlerFunc(ok))
	r.Group(func(r chi.Router) { r.Get("/v1/orders/{id}", ok) })
	r.Route("/debug", func(r chi.Router) { r.Post("/dump", ok) })
	return r
}

func TestMethodsThatARouteLacks(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"TRACE", "/v1/orders", 405, "GET, HEAD, OPTIONS, POST"},
		{"CONNECT", "/v1/orders", 405, "GET, HEAD, OPTIONS, POST"},
		{"BREW", "/v1/orders", 405, "GET, HEAD, OPTIONS, POST"},
		{"DELETE", "/v1/orders", 405, "GET, HEAD, OPTIONS, POST"},
		{"POST", "/v1/orders/17", 405, "GET, HEAD, OPTIONS"},
		{"TRACE", "/v1/orders/17", 405, "GET, HEAD, OPTIONS"},
		{"GET", "/v1/stock", 405, "OPTIONS, PUT"},
		{"HEAD", "/v1/stock", 405, "OPTIONS, PUT"},
		{"GET", "/debug/dump", 405, "OPTIONS, POST"},
		{"OPTIONS", "/v1/orders", 204, "GET, HEAD, OPTIONS, POST"},
		{"OPTIONS", "/debug/dump", 204, "OPTIONS, POST"},
		{"BREW", "/metrics", 405, "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE"},
		{"HEAD", "/v1/orders", 200, ""},
		{"GET", "/v1/orders", 200, ""},
		{"TRACE", "/metrics", 200, ""},
		{"TRACE", "/v2/orders", 404, ""},
		{"BREW", "/v2/orders", 404, ""},
		{"OPTIONS", "/v2/orders", 404, ""},
		{"HEAD", "/v2/orders", 404, ""},
		{"GET", "/debug/none", 404, ""},
		{"GET", "/v1/orders/17/", 404, ""},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			router().ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
			if got := w.Header().Get("Allow"); w.Code != c.status || got != c.allow {
				t.Errorf("status %d, Allow %q, want %d and %q", w.Code, got, c.status, c.allow)
			}
			if c.status >= 400 && !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") {
				t.Errorf("no problem: %s", w.Body)
			}
		})
	}
}

// HEAD has the header of GET and no body, on the wire too.
func TestHead(t *testing.T) {
	srv := httptest.NewServer(router())
	defer srv.Close()
	res, err := http.Head(srv.URL + "/v1/orders/17")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.ContentLength != 2 {
		t.Errorf("status %d, length %d", res.StatusCode, res.ContentLength)
	}
}
