package payment

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"quadrille.internal/events"
)

func answering(status int) error { return refusal(status, http.Header{}, []byte("{}")) }

// What is about one payment never holds up the others.
func TestBreakerCountsOnlyWhatSpeaksAgainstTheProvider(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		again bool
		opens bool
	}{
		{"failures of many payments", errors.New("connection reset"), false, true},
		{"answers 500 to many payments", answering(http.StatusInternalServerError), false, true},
		{"limited", answering(http.StatusTooManyRequests), false, true},
		{"not reached", &unsentError{cause: errors.New("connection refused"), tried: true}, false, true},
		{"our key", answering(http.StatusUnauthorized), false, true},
		{"our key, again", answering(http.StatusForbidden), true, true},
		{"payments that fail again and again", answering(http.StatusInternalServerError), true, false},
		{"bad requests", answering(http.StatusBadRequest), false, false},
		{"not found", answering(http.StatusNotFound), false, false},
		{"under way already", answering(http.StatusConflict), false, false},
		{"declined", &declinedError{Reason: events.Reason{Code: "c", Message: "m"}}, false, false},
		{"prevented", errPrevented, false, false},
	} {
		b := newBreaker(slog.New(slog.DiscardHandler))
		for range 3 * breakAfter {
			_, err := b.guard(c.again, func() ([]byte, error) { return nil, c.err })
			if _, held := errors.AsType[*unsentError](err); !held && !errors.Is(err, c.err) {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if opened := b.open() == 0; opened != c.opens {
			t.Errorf("%s: open %v, want %v", c.name, opened, c.opens)
		}
	}
}

func TestBreakerOpensAtOnceForOurKey(t *testing.T) {
	b := newBreaker(slog.New(slog.DiscardHandler))
	calls := 0
	for range 10 {
		_, _ = b.guard(false, func() ([]byte, error) { calls++; return nil, answering(http.StatusUnauthorized) })
	}
	if calls != 1 || !b.keyRefused.Load() {
		t.Errorf("called %d times with a key that is refused, alarm %v", calls, b.keyRefused.Load())
	}
}

// A provider that names a time is left alone until then.
func TestBreakerHeedsRetryAfter(t *testing.T) {
	b := newBreaker(slog.New(slog.DiscardHandler))
	began := time.Now()
	for range breakAfter {
		_, _ = b.guard(false, func() ([]byte, error) {
			return nil, refusal(http.StatusServiceUnavailable, http.Header{"Retry-After": {"120"}}, nil)
		})
	}
	if wait := time.Unix(0, b.quietUntil.Load()).Sub(began); wait < 2*time.Minute || b.open() != 0 || b.well() {
		t.Errorf("asks again in %s, want two minutes", wait)
	}
	_, err := b.guard(false, func() ([]byte, error) { t.Error("called"); return nil, nil })
	if unsent, ok := errors.AsType[*unsentError](err); !ok || unsent.tried {
		t.Errorf("held back with %v", err)
	}
}
