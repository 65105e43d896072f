package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"

	"quadrille.internal/platform/fault"
)

const (
	// MaxBody bounds a request body, in bytes: a thousand lines fit well.
	MaxBody = 256 << 10
	// maxQuoted bounds what an answer repeats of the request.
	maxQuoted = 64
)

// Decode reads the JSON body into v, which points to a zero value. Unknown fields,
// trailing data, other media types and bodies over MaxBody are refused, and bodies
// that do not arrive before the deadline of the request's context. Numbers without
// a fraction are integers in every notation, as in JSON Schema. It returns the body
// as it came.
func Decode(w http.ResponseWriter, r *http.Request, v any) ([]byte, error) {
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/json" {
		return nil, fault.New(fault.Unsupported, "media_type", "Send the body as Content-Type: application/json.")
	}
	body, err := ReadBody(w, r, MaxBody)
	if err != nil {
		return nil, err
	}
	if counted, ok := r.Body.(*countedBody); ok {
		if err := counted.take(bytes.Count(body, []byte(",")) * valueSize); err != nil {
			return nil, bodyFault(w, err, MaxBody)
		}
	}
	err = decode(body, v)
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && isInteger(t.Type) && strings.HasPrefix(t.Value, "number ") {
		reflect.ValueOf(v).Elem().SetZero()
		err = decode(wholeNumbers(body), v)
	}
	if err != nil {
		return nil, decodeFault(err)
	}
	return body, nil
}

// ReadBody reads a body of at most so many bytes whole, before the deadline of the request's
// context. It is counted where LimitBodies does.
func ReadBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if deadline, ok := r.Context().Deadline(); ok {
		// A caller that sends slowly must not keep one of the places under Limit.
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // not every ResponseWriter in tests has one
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return nil, bodyFault(w, err, most)
	}
	return body, nil
}

func bodyFault(w http.ResponseWriter, err error, most int64) error {
	switch {
	case errors.Is(err, errBodyBudget):
		w.Header().Set("Retry-After", retryAfter())
		return overloaded()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Invalid, "body_too_slow", "The body did not arrive in time.")
	default:
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fault.New(fault.TooLarge, "body_too_large", "The body is larger than %d bytes.", most)
		}
		return fault.New(fault.Invalid, "body_unreadable", "The body could not be read to its end.")
	}
}

var errTrailingData = errors.New("the body holds more than one JSON value")

func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailingData
	}
	return nil
}

func decodeFault(err error) *fault.Fault {
	if errors.Is(err, errTrailingData) {
		return fault.New(fault.Invalid, "body_malformed", "The body holds more than one JSON value.")
	}
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		f := fault.Field(quote(t.Field), "wrong_type", "A JSON %s does not fit here", quote(t.Value))
		f.Message += wanted(t.Type) + "."
		return f
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.Field(quote(strings.Trim(field, `"`)), "unknown_field", "There is no such field.")
	}
	return fault.New(fault.Invalid, "body_malformed", "The body is not the JSON it should be: %s.", quote(err.Error()))
}

// wanted says which numbers an integer takes.
func wanted(t reflect.Type) string {
	if !isInteger(t) {
		return ""
	}
	spare := 64 - t.Bits()
	if t.Kind() >= reflect.Uint {
		return fmt.Sprintf("; want a whole number from 0 to %d", uint64(math.MaxUint64)>>spare)
	}
	return fmt.Sprintf("; want a whole number from %d to %d", int64(math.MinInt64)>>spare, int64(math.MaxInt64)>>spare)
}

func isInteger(t reflect.Type) bool { return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 }

// quote shortens what came from the request.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "..."
}
