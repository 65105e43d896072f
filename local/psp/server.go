package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"quadrille.internal/local/psp/ledger"
)

type server struct {
	ledger    *ledger.Ledger
	keyDigest [sha256.Size]byte
	slow      time.Duration
	log       *slog.Logger
	outage    outage
	refusals  refusals

	hurried  chan struct{} // closed when the server stops: nobody waits any more
	stopOnce sync.Once
}

func newServer(book *ledger.Ledger, key string, slow time.Duration, log *slog.Logger) *server {
	return &server{
		ledger:    book,
		keyDigest: sha256.Sum256([]byte(key)),
		slow:      slow,
		log:       log,
		refusals:  refusals{seen: map[string]int{}},
		hurried:   make(chan struct{}),
	}
}

// hurry ends every deliberate wait, so that stopping is quick and whoever is
// waiting still gets the answer.
func (s *server) hurry() { s.stopOnce.Do(func() { close(s.hurried) }) }

// wait ignores the caller's context on purpose: a provider goes on with a
// charge although the merchant hung up.
func (s *server) wait() {
	timer := time.NewTimer(s.slow)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.hurried:
	}
}

func (s *server) handler() http.Handler {
	v1 := http.NewServeMux()
	s.route(v1, "POST /v1/charges", s.createCharge)
	s.route(v1, "GET /v1/charges", s.listCharges)
	s.route(v1, "GET /v1/charges/{id}", s.showCharge)
	s.route(v1, "POST /v1/refunds", s.createRefund)
	s.route(v1, "GET /v1/refunds", s.listRefunds)
	s.route(v1, "GET /v1/ledger/summary", s.showSummary)
	s.route(v1, "/", unknownURL)

	private := http.NewServeMux()
	private.Handle("/v1/", s.disturb(v1))
	s.route(private, "POST /admin/mode", s.setMode)
	s.route(private, "/", unknownURL)

	all := http.NewServeMux()
	s.route(all, "GET /healthz", healthy)
	all.Handle("/", s.authenticate(private))
	return all
}

// route turns the error a handler returns into the answer.
func (s *server) route(mux *http.ServeMux, pattern string, handle func(http.ResponseWriter, *http.Request) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

// authenticate compares digests, so that the time taken tells nothing about
// the key, not even its length.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		digest := sha256.Sum256([]byte(key))
		if !ok || subtle.ConstantTimeCompare(digest[:], s.keyDigest[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.writeError(w, r, errUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func healthy(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func unknownURL(_ http.ResponseWriter, r *http.Request) error {
	return &apiError{
		status:  http.StatusNotFound,
		Type:    typeInvalidRequest,
		Code:    "url_unknown",
		Message: "Unrecognized request URL (" + r.Method + " " + r.URL.Path + ").",
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // fails only when the caller is gone
	return nil
}

// cut drops the connection without a byte of answer.
func cut() { panic(http.ErrAbortHandler) }
