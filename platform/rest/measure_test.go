package rest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"quadrille.internal/platform/rest"
)

// Each answer is told once, with the status that the caller gets, whatever ends it.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   int
	}{
		{"nothing said", func(http.ResponseWriter, *http.Request) {}, http.StatusOK},
		{"a body alone", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, http.StatusOK},
		{"a status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, http.StatusTeapot},
		{"early hints first", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusConflict)
		}, http.StatusConflict},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, http.StatusInternalServerError},
		{"cut after its beginning", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			panic(http.ErrAbortHandler)
		}, http.StatusAccepted},
		{"flushed", func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []int
			h := rest.Measure(c.answer, func(_ *http.Request, status int, took time.Duration) {
				told = append(told, status)
				if took <= 0 {
					t.Errorf("took %s", took)
				}
			})
			func() {
				defer func() { _ = recover() }() // what net/http does
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
			}()
			if len(told) != 1 || told[0] != c.want {
				t.Errorf("told %v, want %d", told, c.want)
			}
		})
	}
}
