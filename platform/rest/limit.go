package rest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"quadrille.internal/platform/fault"
)

// Clients that are told to come back at the same moment are spread over so many
// seconds.
const retryWithin = 8

func overloaded() *fault.Fault {
	return fault.New(fault.Unavailable, "overloaded", "Too many requests are under way; try again shortly.")
}

// retryAfter is a Retry-After for one of many.
func retryAfter() string {
	return strconv.Itoa(1 + rand.IntN(retryWithin)) //nolint:gosec // spreading needs no secrecy
}

// Limits bound what a port answers at a time, so that an edge under a burst sheds load
// instead of falling over: requests under way, and streams, which are answers that last.
type Limits struct {
	requests, streams chan struct{}
	ending            context.Context //nolint:containedctx // it ends with the port, not with a request
	end               context.CancelFunc
}

// NewLimits returns bounds of so many requests and streams.
func NewLimits(requests, streams int) *Limits {
	l := &Limits{requests: make(chan struct{}, requests), streams: make(chan struct{}, streams)}
	l.ending, l.end = context.WithCancel(context.Background())
	return l
}

// EndStreams ends the streams: the port is to close.
func (l *Limits) EndStreams() { l.end() }

// Handler answers 503 with Retry-After where too many requests are under way.
func (l *Limits) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case l.requests <- struct{}{}:
			s := &slot{ResponseWriter: w, limits: l, of: l.requests}
			defer func() { <-s.of }()
			next.ServeHTTP(s, r)
		default:
			w.Header().Set("Retry-After", retryAfter())
			WriteProblem(w, r, overloaded())
		}
	})
}

// slot is a request that counts among those of a bound.
type slot struct {
	http.ResponseWriter
	limits *Limits
	of     chan struct{}
}

// Unwrap is for http.ResponseController.
func (s *slot) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// lasts has the request count among the streams from now on, and no longer among those
// that are answered soon.
func (s *slot) lasts() error {
	select {
	case s.limits.streams <- struct{}{}:
		<-s.of
		s.of = s.limits.streams
		return nil
	default:
		return overloaded()
	}
}

const (
	// freeBody is what each request may take without asking: an order of some lines.
	// It is bounded by Limit, and small requests go through while large ones fill
	// the budget.
	freeBody = 16 << 10
	// valueSize is about what a decoded value takes beside its text: {} in an array
	// becomes a struct, however few bytes it was.
	valueSize = 32
)

var errBodyBudget = errors.New("too many bytes of request bodies are under way")

// LimitBodies bounds the memory that request bodies take together. Bytes count
// once they arrive and until their request is answered; decoded values count too.
// Decode answers 503 with Retry-After where n bytes are taken. The first 16 KiB of
// each request do not count.
func LimitBodies(n int64) func(http.Handler) http.Handler {
	budget := &bodyBudget{max: n}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Body == nil || r.Body == http.NoBody {
				next.ServeHTTP(w, r)
				return
			}
			body := &countedBody{ReadCloser: r.Body, budget: budget}
			defer body.release()
			r.Body = body
			next.ServeHTTP(w, r)
		})
	}
}

type bodyBudget struct {
	max   int64
	taken atomic.Int64
}

// countedBody counts what is read of a body.
type countedBody struct {
	io.ReadCloser
	budget *bodyBudget
	size   int64 // so far
	taken  int64 // of the budget
	full   bool  // no room was left
}

// Read fails with errBodyBudget once there is no room, and so do all reads after it.
func (c *countedBody) Read(b []byte) (int, error) {
	if c.full {
		return 0, errBodyBudget
	}
	n, err := c.ReadCloser.Read(b)
	if full := c.take(n); full != nil {
		return 0, full
	}
	return n, err
}

// take counts n more bytes. Where there is no room for them, all that was taken is
// given back at once: the caller drops what it read.
func (c *countedBody) take(n int) error {
	c.size += int64(n)
	more := max(0, c.size-freeBody) - c.taken
	if more <= 0 {
		return nil
	}
	c.taken += more
	if c.budget.taken.Add(more) > c.budget.max {
		c.full = true
		c.release()
		return errBodyBudget
	}
	return nil
}

func (c *countedBody) release() {
	c.budget.taken.Add(-c.taken)
	c.taken = 0
}
