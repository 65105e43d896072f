package services_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// spans takes what a process exports, as a collector does. It is not compressed, so texts in
// it are as they are.
type spans struct {
	*httptest.Server
	mu    sync.Mutex
	taken bytes.Buffer
}

func startSpans(t *testing.T) *spans {
	s := new(spans)
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, err := s.taken.ReadFrom(r.Body); err != nil {
			t.Errorf("spans: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// text is all that was taken so far.
func (s *spans) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.String()
}
