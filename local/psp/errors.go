package main

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"quadrille.internal/local/psp/ledger"
)

const (
	typeAPI            = "api_error"
	typeCard           = "card_error"
	typeIdempotency    = "idempotency_error"
	typeInvalidRequest = "invalid_request_error"
	typeRateLimit      = "rate_limit_error"
)

// apiError is an answer other than success. Message is safe to show.
type apiError struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`

	status     int
	retryAfter time.Duration
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

var (
	errUnauthorized = &apiError{
		status: http.StatusUnauthorized, Type: typeInvalidRequest, Code: "api_key_invalid",
		Message: "No valid API key: send it as \"Authorization: Bearer KEY\".",
	}
	errInternal = &apiError{
		status: http.StatusInternalServerError, Type: typeAPI, Code: "internal",
		Message: "Something went wrong on our side. Retry with the same idempotency key.",
	}
	errUnavailable = &apiError{
		status: http.StatusServiceUnavailable, Type: typeAPI, Code: "unavailable",
		Message: "We are down. Retry later with the same idempotency key.",
	}
	errRateLimited = &apiError{
		status: http.StatusTooManyRequests, Type: typeRateLimit, Code: "rate_limit",
		Message: "Too many requests.", retryAfter: time.Second,
	}
	errTooLarge = &apiError{
		status: http.StatusRequestEntityTooLarge, Type: typeInvalidRequest, Code: "body_too_large",
		Message: "The request body is larger than 64 KiB.",
	}
)

// badRequest names the parameter at fault.
func badRequest(code, param, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, Type: typeInvalidRequest, Code: code, Param: param, Message: message}
}

// fromLedger is the one place where the ledger's refusals become answers.
func fromLedger(err error) error {
	switch {
	case errors.Is(err, ledger.ErrKeyReused):
		return &apiError{
			status: http.StatusBadRequest, Type: typeIdempotency, Code: "idempotency_error", Param: idempotencyHeader,
			Message: "This idempotency key was used with different parameters or another endpoint.",
		}
	case errors.Is(err, ledger.ErrKeyInFlight):
		return &apiError{
			status: http.StatusConflict, Type: typeIdempotency, Code: "idempotency_in_flight", Param: idempotencyHeader,
			Message: "A request with this idempotency key is still in progress.",
		}
	case errors.Is(err, ledger.ErrNoSuchCharge):
		return badRequest("resource_missing", "charge", "No such charge.")
	case errors.Is(err, ledger.ErrOverRefund):
		return badRequest("charge_already_refunded", "amount", "The refund is larger than what is left of the charge.")
	case errors.Is(err, ledger.ErrUnknownCursor):
		return badRequest("resource_missing", "starting_after", "No such object to start after.")
	default:
		return err
	}
}

// writeError answers with an apiError as it is; anything else is ours, logged
// here and not shown.
func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var answer *apiError
	if !errors.As(err, &answer) {
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		answer = errInternal
	}
	if answer.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(answer.retryAfter.Seconds())))
	}
	if err := writeJSON(w, answer.status, map[string]*apiError{"error": answer}); err != nil {
		s.log.ErrorContext(r.Context(), "answer failed", "err", err)
	}
}
