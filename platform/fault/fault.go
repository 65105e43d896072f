// Package fault gives errors a stable code, a message that is safe to show and
// a wrapped cause that is not. An error without a fault is internal.
package fault

import (
	"errors"
	"fmt"
)

// Kind is the class of a fault; package rest maps it to an HTTP status.
type Kind int

// The kinds of fault.
const (
	Internal      Kind = iota // ours; the cause is logged and never shown
	Invalid                   // the request is malformed
	Unprocessable             // well-formed, but breaks a rule
	NotFound                  // no such thing
	Conflict                  // contradicts the thing's present state
	TooLarge                  // over a size limit
	Unsupported               // a media type we do not speak
	NotAllowed                // a method the thing does not have
	Unauthorized              // no valid credentials
	Forbidden                 // not theirs to do
	Unavailable               // try again later

	PreconditionRequired // the request does not say which state it is about
	PreconditionFailed   // the thing is no longer as the request says

	Unanswered // somebody else did not answer, and may have done what was asked

	TooMany // too often; Retry-After says when again
)

// Fault is an error that may be shown to a caller.
type Fault struct {
	Kind Kind
	// Code is stable and for programs, such as "order_already_confirmed".
	Code string
	// Message is one sentence for people, with the remedy where there is one.
	Message string
	// Field is the path of the input at fault, such as "lines[2].quantity".
	Field string
	// Members are added to the answer, for programs: the id of the other order, say. Their
	// names are none of those of rest.Problem.
	Members map[string]any
	// Cause is for the log only.
	Cause error
}

func (f *Fault) Error() string {
	s := f.Code + ": " + f.Message
	if f.Field != "" {
		s = f.Field + ": " + s
	}
	if f.Cause != nil {
		s += ": " + f.Cause.Error()
	}
	return s
}

func (f *Fault) Unwrap() error { return f.Cause }

// New returns a fault whose message is formatted as by fmt.Sprintf.
func New(kind Kind, code, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Field returns an Invalid fault about one field of the input.
func Field(field, code, format string, args ...any) *Fault {
	f := New(Invalid, code, format, args...)
	f.Field = field
	return f
}

// Of returns the fault within err, or an internal one that wraps err.
func Of(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Kind: Internal, Code: "internal", Message: "Something went wrong on our side.", Cause: err}
}
