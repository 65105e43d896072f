package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	modeOK   = "ok"
	modeDown = "down"
	modeSlow = "slow"
)

// maxOutage bounds for_ms; an outage without an end is for_ms 0.
const maxOutage = 24 * time.Hour

// outage is a fault of the whole provider, switched on by tests and drills.
type outage struct {
	mu    sync.Mutex
	mode  string // "" = ok
	until time.Time
	calls int
}

// next returns the mode for the next call, and its number since the mode was set.
func (o *outage) next(now time.Time) (mode string, call int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mode == "" || !o.until.IsZero() && !now.Before(o.until) {
		return modeOK, 0
	}
	o.calls++
	return o.mode, o.calls
}

// set switches the mode, until told otherwise when d is 0.
func (o *outage) set(now time.Time, mode string, d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mode, o.calls, o.until = mode, 0, time.Time{}
	if d > 0 {
		o.until = now.Add(d)
	}
}

// disturb applies the outage before anything is done. Down alternates between
// an answer and a cut connection, the two faces of an outage.
func (s *server) disturb(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mode, call := s.outage.next(time.Now())
		switch {
		case mode == modeDown && call%2 == 1:
			s.writeError(w, r, errUnavailable)
			return
		case mode == modeDown:
			cut()
		case mode == modeSlow:
			s.wait()
		}
		next.ServeHTTP(w, r)
	})
}

type modeParams struct {
	Mode  string `json:"mode"`
	ForMS int64  `json:"for_ms"`
}

func (s *server) setMode(w http.ResponseWriter, r *http.Request) error {
	var p modeParams
	if err := decode(w, r, &p, "mode", "for_ms"); err != nil {
		return err
	}
	switch p.Mode {
	case modeOK, modeDown, modeSlow:
	default:
		return badRequest("parameter_invalid", "mode", "Must be ok, down or slow.")
	}
	if p.ForMS < 0 || p.ForMS > maxOutage.Milliseconds() {
		return badRequest("parameter_invalid_integer", "for_ms", fmt.Sprintf("Must be between 0 and %d.", maxOutage.Milliseconds()))
	}
	s.outage.set(time.Now(), p.Mode, time.Duration(p.ForMS)*time.Millisecond)
	s.log.InfoContext(r.Context(), "mode changed", "mode", p.Mode, "for_ms", p.ForMS)
	return writeJSON(w, http.StatusOK, p)
}
