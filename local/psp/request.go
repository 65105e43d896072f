package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxKeyLength      = 255
)

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
	return key, checkKey(key, idempotencyHeader)
}

func checkKey(key, param string) error {
	switch {
	case key == "":
		return standin.BadRequest("parameter_missing", param, "This request needs an idempotency key.")
	case len(key) > maxKeyLength:
		return standin.BadRequest("parameter_invalid", param, fmt.Sprintf("An idempotency key has at most %d characters.", maxKeyLength))
	}
	return nil
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
		return standin.WriteJSON(w, http.StatusOK, o.Charge)
	case o.Refund != nil:
		return standin.WriteJSON(w, http.StatusOK, o.Refund)
	case o.Cancellation != nil:
		return errCanceled
	default:
		return &standin.Error{Status: http.StatusPaymentRequired, Type: typeCard, Code: o.Decline.Code, Message: o.Decline.Message}
	}
}
