package standin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Mode is how the whole third party behaves.
type Mode string

// The modes a stand-in can offer. What has failed before it did anything and
// what has failed after look the same to the caller.
const (
	ModeOK        Mode = "ok"
	ModeDown      Mode = "down"       // does nothing; answers with an error or cuts, in turns
	ModeSlow      Mode = "slow"       // waits, then does it
	ModeFlaky     Mode = "flaky"      // does nothing and answers with an error
	ModeFailAfter Mode = "fail_after" // does it and answers with an error
	ModeLoseReply Mode = "lose_reply" // does it and cuts the connection
	ModeLate      Mode = "late"       // cuts the connection at once, and does it after the wait
	ModeLimited   Mode = "limited"    // does nothing and asks to be left alone for a while
)

// afterwards reports whether the mode is about calls that have done something.
func (m Mode) afterwards() bool { return m == ModeFailAfter || m == ModeLoseReply || m == ModeLate }

// maxOutage bounds for_ms; an outage without an end is for_ms 0.
const maxOutage = 24 * time.Hour

// maxCount bounds count; an outage of any number of calls is count 0.
const maxCount = 1_000_000

// outage is a fault of the whole third party, switched on by tests and drills.
type outage struct {
	mu    sync.Mutex
	mode  Mode // "" = ok
	until time.Time
	ratio float64 // share of calls that suffer; 0 = all
	count int     // number of calls that suffer; 0 = all
	calls int     // that suffered
}

// next returns the mode for the next call, and its number among those that
// suffer. A call that changes nothing has nothing to be lost afterwards.
func (o *outage) next(now time.Time, changes bool) (mode Mode, call int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.mode == "" || o.mode.afterwards() && !changes,
		!o.until.IsZero() && !now.Before(o.until),
		o.count > 0 && o.calls == o.count,
		o.ratio > 0 && rand.Float64() >= o.ratio: //nolint:gosec // luck, not a secret
		return ModeOK, 0
	}
	o.calls++
	return o.mode, o.calls
}

// set switches the mode.
func (o *outage) set(now time.Time, p modeParams) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mode, o.ratio, o.count, o.calls, o.until = p.Mode, p.Ratio, p.Count, 0, time.Time{}
	if p.ForMS > 0 {
		o.until = now.Add(time.Duration(p.ForMS) * time.Millisecond)
	}
}

// Suffer returns the mode for a call of another protocol than HTTP that changes something,
// and its number among those that suffer.
func (s *Server) Suffer() (mode Mode, call int) { return s.outage.next(time.Now(), true) }

// disturb applies the outage to the calls of next.
func (s *Server) disturb(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mode, call := s.outage.next(time.Now(), r.Method == http.MethodPost)
		switch mode {
		case ModeDown:
			if call%2 == 0 {
				Cut()
			}
			s.writeError(w, r, s.program.Down)
		case ModeFlaky:
			s.writeError(w, r, s.program.Internal)
		case ModeFailAfter:
			next.ServeHTTP(unheard{}, r)
			s.writeError(w, r, s.program.Internal)
		case ModeLoseReply:
			next.ServeHTTP(unheard{}, r)
			Cut()
		case ModeLate:
			s.carryOutLate(next, r)
			Cut()
		case ModeLimited:
			s.writeError(w, r, s.program.Limited)
		case ModeSlow:
			s.Wait()
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// carryOutLate does what a request asks for after the wait, as if it had been held
// up on its way: until then nothing of it is known.
func (s *Server) carryOutLate(next http.Handler, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody))
	if err != nil {
		return // it never arrived whole
	}
	held := r.Clone(context.WithoutCancel(r.Context()))
	held.Body = io.NopCloser(bytes.NewReader(body))
	s.late.Go(func() {
		s.Wait()
		defer func() { _ = recover() }() // a call that cuts its connection has none here
		next.ServeHTTP(unheard{}, held)
	})
}

// unheard takes an answer that nobody gets.
type unheard struct{}

func (unheard) Header() http.Header            { return http.Header{} }
func (unheard) Write(body []byte) (int, error) { return len(body), nil }
func (unheard) WriteHeader(int)                {}

type modeParams struct {
	Mode  Mode    `json:"mode"`
	ForMS int64   `json:"for_ms"`
	Ratio float64 `json:"ratio,omitempty"`
	Count int     `json:"count,omitempty"`
}

func (p modeParams) check(modes []Mode) error {
	if !slices.Contains(modes, p.Mode) {
		return BadRequest("parameter_invalid", "mode", fmt.Sprintf("Must be one of %q.", modes))
	}
	if p.ForMS < 0 || p.ForMS > maxOutage.Milliseconds() {
		return BadRequest("parameter_invalid_integer", "for_ms", fmt.Sprintf("Must be between 0 and %d.", maxOutage.Milliseconds()))
	}
	if p.Ratio < 0 || p.Ratio > 1 {
		return BadRequest("parameter_invalid", "ratio", "Must be between 0 and 1; 0 means every call.")
	}
	if p.Count < 0 || p.Count > maxCount {
		return BadRequest("parameter_invalid_integer", "count", fmt.Sprintf("Must be between 0 and %d.", maxCount))
	}
	return nil
}

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) error {
	known := []string{"mode", "for_ms"}
	if s.program.Partial {
		known = append(known, "ratio", "count")
	}
	var p modeParams
	if err := Decode(w, r, &p, known...); err != nil {
		return err
	}
	if err := p.check(s.program.Modes); err != nil {
		return err
	}
	s.outage.set(time.Now(), p)
	s.Log.InfoContext(r.Context(), "mode changed", "mode", p.Mode, "for_ms", p.ForMS, "ratio", p.Ratio, "count", p.Count)
	return WriteJSON(w, http.StatusOK, p)
}
