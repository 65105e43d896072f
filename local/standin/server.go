package standin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server serves a stand-in's calls.
type Server struct {
	Log *slog.Logger

	program   Program
	keyDigest [sha256.Size]byte
	slow      time.Duration
	outage    outage
	v1        *http.ServeMux // suffers from outages
	admin     *http.ServeMux

	hurried  chan struct{} // closed when the server stops: nobody waits any more
	stopOnce sync.Once
	late     sync.WaitGroup // calls that are carried out after their caller was cut off
}

func newServer(p Program, key string, slow time.Duration, log *slog.Logger) *Server {
	s := &Server{
		Log:       log,
		program:   p,
		keyDigest: sha256.Sum256([]byte(key)),
		slow:      slow,
		v1:        http.NewServeMux(),
		admin:     http.NewServeMux(),
		hurried:   make(chan struct{}),
	}
	s.Route("/", unknownURL)
	s.RouteAdmin("POST /admin/mode", s.setMode)
	s.RouteAdmin("/", unknownURL)
	return s
}

// hurry ends every deliberate wait, so that stopping is quick and a caller who is
// waiting still gets the answer.
func (s *Server) hurry() { s.stopOnce.Do(func() { close(s.hurried) }) }

// Wait ignores the caller's context on purpose: a third party goes on with
// what it was asked for although the caller hung up.
func (s *Server) Wait() {
	timer := time.NewTimer(s.slow)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.hurried:
	}
}

// A Handle answers a call, or returns the error to answer with.
type Handle func(http.ResponseWriter, *http.Request) error

// Route adds a call under /v1.
func (s *Server) Route(pattern string, handle Handle) { s.route(s.v1, pattern, handle) }

// RouteAdmin adds a call under /admin, which outages do not touch.
func (s *Server) RouteAdmin(pattern string, handle Handle) { s.route(s.admin, pattern, handle) }

func (s *Server) route(mux *http.ServeMux, pattern string, handle Handle) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

func (s *Server) handler() http.Handler {
	private := http.NewServeMux()
	private.Handle("/v1/", s.disturb(s.v1))
	private.Handle("/", s.admin)

	all := http.NewServeMux()
	s.route(all, "GET /healthz", healthy)
	all.Handle("/", s.authenticate(private))
	return all
}

// IsKey compares digests, so that the time taken tells nothing about the key, not
// even its length.
func (s *Server) IsKey(key string) bool {
	digest := sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(digest[:], s.keyDigest[:]) == 1
}

func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !s.IsKey(key) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.writeError(w, r, errUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func healthy(w http.ResponseWriter, _ *http.Request) error {
	return WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func unknownURL(_ http.ResponseWriter, r *http.Request) error {
	return &Error{
		Status:  http.StatusNotFound,
		Type:    TypeInvalidRequest,
		Code:    "url_unknown",
		Message: "Unrecognized request URL (" + r.Method + " " + r.URL.Path + ").",
	}
}

// WriteJSON answers with body.
func WriteJSON(w http.ResponseWriter, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // fails only when the caller is gone
	return nil
}

// Cut drops the connection without a byte of answer.
func Cut() { panic(http.ErrAbortHandler) }
