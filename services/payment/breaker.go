package payment

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// The breaker opens after this many payments in a row failed for the first time, and
	// tries again after a while: a provider that is down is not helped by being asked.
	breakAfter = 10
	breakFor   = 2 * time.Second
	probes     = 4 // calls that a breaker lets through to see whether it may close
	// keyPause is how long the provider is left alone once it refused our key: it will
	// go on doing so until somebody puts another in place.
	keyPause = 30 * time.Second
)

// breaker holds calls back while the provider is away. What it refuses has
// provably not been sent.
//
// Answers about the request itself are no failures. While the breaker is closed,
// only the first failure of each payment counts: one that fails again and again
// says nothing new about the provider, and a crowd of them must not stop all others.
type breaker struct {
	circuit    *gobreaker.CircuitBreaker[[]byte]
	log        *slog.Logger
	quietUntil atomic.Int64 // Unix nanoseconds; nothing is sent before
	wanted     atomic.Int64 // pause that the last failed answer asked for
	keyRefused atomic.Bool
}

func newBreaker(log *slog.Logger) *breaker {
	b := &breaker{log: log}
	b.circuit = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Name: "payment provider", Timeout: breakFor, MaxRequests: probes,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= breakAfter || b.keyRefused.Load()
		},
		IsSuccessful: func(err error) bool { return !isTrouble(err) },
		IsExcluded: func(err error) bool {
			_, known := errors.AsType[*knownError](err)
			refused, answered := errors.AsType[*refusedError](err)
			// An earlier request with the same key is under way: no news of the provider.
			return known || answered && refused.status == http.StatusConflict
		},
		OnStateChange: b.changed,
	})
	return b
}

// isTrouble reports whether an error speaks against the provider, and not only
// about the request.
func isTrouble(err error) bool {
	if err == nil || errors.Is(err, errPrevented) {
		return false
	}
	if _, declined := errors.AsType[*declinedError](err); declined {
		return false
	}
	refused, answered := errors.AsType[*refusedError](err)
	return !answered || refused.passing()
}

// knownError is a repeated failure of one payment, which does not count.
type knownError struct{ error }

func (e *knownError) Unwrap() error { return e.error }

// well reports whether the provider answers as it should, as far as is known.
func (b *breaker) well() bool { return !b.quiet() && b.circuit.State() == gobreaker.StateClosed }

// open returns how many calls make sense now.
func (b *breaker) open() int {
	if b.quiet() {
		return 0
	}
	switch b.circuit.State() {
	case gobreaker.StateOpen:
		return 0
	case gobreaker.StateHalfOpen:
		return probes
	case gobreaker.StateClosed:
	}
	return math.MaxInt
}

func (b *breaker) quiet() bool { return time.Now().UnixNano() < b.quietUntil.Load() }

var errQuiet = errors.New("the provider wants to be left alone")

// guard makes a call unless the provider must be left alone; again says that it
// failed for this payment before.
func (b *breaker) guard(again bool, send func() ([]byte, error)) ([]byte, error) {
	if b.quiet() {
		return nil, &unsentError{cause: errQuiet}
	}
	counted := !again || b.circuit.State() != gobreaker.StateClosed
	answer, err := b.circuit.Execute(func() ([]byte, error) {
		answer, err := send()
		b.heed(err)
		if err != nil && !counted && isTrouble(err) && !b.keyRefused.Load() {
			return nil, &knownError{err}
		}
		return answer, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil, &unsentError{cause: err}
	}
	return answer, err
}

// heed keeps what an answer says about how to go on.
func (b *breaker) heed(err error) {
	refused, answered := errors.AsType[*refusedError](err)
	if !isTrouble(err) {
		b.keyRefused.Store(false)
		return
	}
	wait := retryAfter(err)
	if answered && refused.aboutKey() {
		if !b.keyRefused.Swap(true) {
			b.log.Error("payment provider refuses our key: check QUADRILLE_PSP_KEY; payments wait", "status", refused.status, "code", refused.code)
		}
		wait = keyPause
	}
	b.wanted.Store(int64(wait))
}

// changed logs, and keeps quiet for as long as the provider asked, if that is longer
// than the breaker does by itself.
func (b *breaker) changed(_ string, from, to gobreaker.State) {
	b.log.Log(context.Background(), slog.LevelWarn, "circuit breaker of the payment provider", "from", from.String(), "to", to.String())
	if wait := b.wanted.Load(); to == gobreaker.StateOpen && wait > 0 {
		b.quietUntil.Store(time.Now().Add(time.Duration(wait)).UnixNano())
	}
}
