package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"quadrille.internal/local/psp/ledger"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxKeyLength      = 255
	maxBody           = 64 << 10
	defaultLimit      = 10
	maxLimit          = 1000
)

// decode reads a JSON object into p. Names outside known are refused, letter
// case included: encoding/json alone would let "Amount" pass for "amount".
func decode(w http.ResponseWriter, r *http.Request, p any, known ...string) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return errTooLarge
		}
		return badRequest("body_unreadable", "", "The request body could not be read.")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return badRequest("body_invalid", "", "The request body is not a JSON object.")
	}
	for name := range fields {
		if !slices.Contains(known, name) {
			return badRequest("parameter_unknown", name, "Received an unknown parameter.")
		}
	}
	if err := json.Unmarshal(body, p); err != nil {
		if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
			return badRequest("parameter_invalid", mismatch.Field, "Has the wrong type.")
		}
		return badRequest("body_invalid", "", "The request body is not valid.")
	}
	return nil
}

// claim reserves the request's idempotency key. When the key already has an
// outcome it is answered here, and the claim is nil.
func (s *server) claim(w http.ResponseWriter, r *http.Request, params any) (*ledger.Claim, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	sum, err := fingerprint(r.URL.Path, params)
	if err != nil {
		return nil, err
	}
	claim, outcome, err := s.ledger.Claim(key, sum)
	if err != nil {
		return nil, fromLedger(err)
	}
	if outcome != nil {
		w.Header().Set("Idempotent-Replayed", "true")
		return nil, writeOutcome(w, outcome)
	}
	return claim, nil
}

func idempotencyKey(r *http.Request) (string, error) {
	key := r.Header.Get(idempotencyHeader)
	switch {
	case key == "":
		return "", badRequest("parameter_missing", idempotencyHeader, "This request needs an idempotency key.")
	case len(key) > maxKeyLength:
		return "", badRequest("parameter_invalid", idempotencyHeader, fmt.Sprintf("An idempotency key has at most %d characters.", maxKeyLength))
	}
	return key, nil
}

// fingerprint is taken of the decoded parameters, so that the order of the
// fields and white space do not make a retry look like another request.
func fingerprint(path string, params any) (string, error) {
	canonical, err := json.Marshal(params)
	if err != nil {
		return "", fmt.Errorf("fingerprint request: %w", err)
	}
	sum := sha256.Sum256(append([]byte(path+"\n"), canonical...))
	return hex.EncodeToString(sum[:]), nil
}

func writeOutcome(w http.ResponseWriter, o *ledger.Outcome) error {
	switch {
	case o.Charge != nil:
		return writeJSON(w, http.StatusOK, o.Charge)
	case o.Refund != nil:
		return writeJSON(w, http.StatusOK, o.Refund)
	default:
		return &apiError{status: http.StatusPaymentRequired, Type: typeCard, Code: o.Decline.Code, Message: o.Decline.Message}
	}
}

// listQuery refuses unknown names: a misspelt filter must not list everything.
func listQuery(r *http.Request) (ledger.Query, error) {
	q := ledger.Query{Limit: defaultLimit}
	for name, values := range r.URL.Query() {
		value := values[len(values)-1]
		switch name {
		case "starting_after":
			q.StartingAfter = value
		case "order_id":
			q.OrderID = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxLimit {
				return q, badRequest("parameter_invalid_integer", name, fmt.Sprintf("Must be between 1 and %d.", maxLimit))
			}
			q.Limit = n
		default:
			return q, badRequest("parameter_unknown", name, "Received an unknown parameter.")
		}
	}
	return q, nil
}

// list answers one page of what find selects.
func list[T any](w http.ResponseWriter, r *http.Request, find func(ledger.Query) (ledger.Page[T], error)) error {
	q, err := listQuery(r)
	if err != nil {
		return err
	}
	page, err := find(q)
	if err != nil {
		return fromLedger(err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"data": page.Data, "has_more": page.HasMore})
}
