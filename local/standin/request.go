package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"quadrille.internal/local/standin/index"
)

// MaxBody is the largest body a call may have, in bytes.
const MaxBody = 64 << 10

const (
	defaultLimit = 10
	maxLimit     = 1000
)

// Decode reads a JSON object into p. Names outside known are refused, letter
// case included: encoding/json alone would let "Amount" pass for "amount".
func Decode(w http.ResponseWriter, r *http.Request, p any, known ...string) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return errTooLarge
		}
		return BadRequest("body_unreadable", "", "The request body could not be read.")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return BadRequest("body_invalid", "", "The request body is not a JSON object.")
	}
	for name := range fields {
		if !slices.Contains(known, name) {
			return BadRequest("parameter_unknown", name, "Received an unknown parameter.")
		}
	}
	if err := json.Unmarshal(body, p); err != nil {
		if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
			return BadRequest("parameter_invalid", mismatch.Field, "Has the wrong type.")
		}
		return BadRequest("body_invalid", "", "The request body is not valid.")
	}
	return nil
}

// List answers one page of what find selects; group names the query parameter
// that asks for one group only.
func List[T any](w http.ResponseWriter, r *http.Request, group string, find func(index.Query) (index.Page[T], error)) error {
	q, err := listQuery(r, group)
	if err != nil {
		return err
	}
	page, err := find(q)
	if errors.Is(err, index.ErrUnknownCursor) {
		return BadRequest("resource_missing", "starting_after", "No such object to start after.")
	}
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, page)
}

// listQuery refuses unknown names: a misspelt filter must not list everything.
func listQuery(r *http.Request, group string) (index.Query, error) {
	q := index.Query{Limit: defaultLimit}
	for name, values := range r.URL.Query() {
		value := values[len(values)-1]
		switch name {
		case "starting_after":
			q.StartingAfter = value
		case group:
			q.Group = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxLimit {
				return q, BadRequest("parameter_invalid_integer", name, fmt.Sprintf("Must be between 1 and %d.", maxLimit))
			}
			q.Limit = n
		default:
			return q, BadRequest("parameter_unknown", name, "Received an unknown parameter.")
		}
	}
	return q, nil
}

// IsCurrency reports whether code has the form of an ISO 4217 code.
func IsCurrency(code string) bool {
	for _, c := range code {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(code) == 3
}
