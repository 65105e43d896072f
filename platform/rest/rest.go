// Package rest is the HTTP edge: strict input, RFC 9457 problems, bounds.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
)

// Handler answers a request, or returns an error that becomes a problem.
type Handler func(w http.ResponseWriter, r *http.Request) error

// API turns handlers into http handlers that answer errors and log those that
// are ours.
type API struct {
	Log *slog.Logger
}

// answerTimeout bounds a request from its header to its answer.
const answerTimeout = 5 * time.Second

// Handle returns h as an http.HandlerFunc. The context of h's request ends after
// answerTimeout.
func (a API) Handle(h Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller := r.Context()
		ctx, cancel := context.WithTimeout(caller, answerTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		defer func() {
			if p := recover(); p != nil {
				a.Log.ErrorContext(ctx, "request panicked", "method", r.Method, "path", r.URL.Path,
					"panic", p, "stack", string(debug.Stack()))
				WriteProblem(w, r, fault.Of(errors.New("panic")))
			}
		}()
		if err := h(w, r); err != nil {
			WriteProblem(w, r, a.faultOf(caller, r, err))
		}
	}
}

// faultOf returns the fault of a request that failed, and logs it where it is ours.
// What passes by itself, as a database that is away or restarting does, should be
// tried again; a caller that went away is no error.
func (a API) faultOf(caller context.Context, r *http.Request, err error) *fault.Fault {
	if v, ok := errors.AsType[*events.Violation](err); ok {
		return fault.Field(v.Field, v.Code, "%s", v.Message)
	}
	f := fault.Of(err)
	if f.Kind == fault.Internal {
		switch {
		case caller.Err() != nil:
			return &fault.Fault{Kind: fault.Unavailable, Code: "unavailable", Message: "The caller went away.", Cause: err}
		case pgtx.Transient(err):
			f = &fault.Fault{
				Kind: fault.Unavailable, Code: "unavailable", Cause: err,
				Message: "Something that this needs does not answer now; try again shortly.",
			}
		default:
			a.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err) //nolint:contextcheck // the request's, which has the trace
		}
	}
	if f.Kind == fault.Unavailable && f.Cause != nil && caller.Err() == nil {
		a.Log.WarnContext(r.Context(), "request cannot be served now", "method", r.Method, "path", r.URL.Path, "code", f.Code, "err", f.Cause) //nolint:contextcheck // as above
	}
	return f
}

const problemType = "application/problem+json"

// Problem is an RFC 9457 problem document. Code and Field are ours.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"`
	Code     string `json:"code"`
	Field    string `json:"field,omitempty"`
	// Members are the extension members of RFC 9457, section 3.2.
	Members map[string]any `json:"-"`
}

// MarshalJSON writes the members beside the others.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	text, err := json.Marshal(plain(p))
	if err != nil || len(p.Members) == 0 {
		return text, err
	}
	members, err := json.Marshal(p.Members)
	if err != nil {
		return nil, err
	}
	return slices.Concat(text[:len(text)-1], []byte{','}, members[1:]), nil
}

// WriteProblem answers with a fault.
func WriteProblem(w http.ResponseWriter, r *http.Request, f *fault.Fault) {
	if f.Kind == fault.Unavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	write(w, Status(f.Kind), problemType, problemOf(f, r.URL.EscapedPath()))
}

func problemOf(f *fault.Fault, instance string) Problem {
	status := Status(f.Kind)
	return Problem{
		Type: "urn:quadrille:problem:" + f.Code, Title: http.StatusText(status), Status: status,
		Detail: f.Message, Instance: instance, Code: f.Code, Field: f.Field, Members: f.Members,
	}
}

// Status is the HTTP status of a kind of fault.
func Status(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unprocessable:
		return http.StatusUnprocessableEntity
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unsupported:
		return http.StatusUnsupportedMediaType
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Unauthorized:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.PreconditionRequired:
		return http.StatusPreconditionRequired
	case fault.PreconditionFailed:
		return http.StatusPreconditionFailed
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Unanswered:
		return http.StatusGatewayTimeout
	case fault.TooMany:
		return http.StatusTooManyRequests
	case fault.Internal:
		return http.StatusInternalServerError
	default:
		return http.StatusInternalServerError
	}
}

// Write answers with v as JSON.
func Write(w http.ResponseWriter, status int, v any) error {
	write(w, status, "application/json", v)
	return nil
}

func write(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"code":"internal"}`)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went away needs no answer
}

// NewServer returns an HTTP server with every wait bounded.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
