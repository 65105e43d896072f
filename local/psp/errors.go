package main

import (
	"errors"
	"net/http"
	"time"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
)

const (
	typeCard        = "card_error"
	typeIdempotency = "idempotency_error"
	typeRateLimit   = "rate_limit_error"
)

var (
	errInternal = &standin.Error{
		Status: http.StatusInternalServerError, Type: standin.TypeAPI, Code: "internal",
		Message: "Something went wrong on our side. Retry with the same idempotency key.",
	}
	errUnavailable = &standin.Error{
		Status: http.StatusServiceUnavailable, Type: standin.TypeAPI, Code: "unavailable",
		Message: "We are down. Retry later with the same idempotency key.",
	}
	errCanceled = &standin.Error{
		Status: http.StatusBadRequest, Type: typeIdempotency, Code: "charge_canceled", Param: idempotencyHeader,
		Message: "This idempotency key was cancelled. Nothing was charged with it, and nothing will be.",
	}
	errRateLimited = &standin.Error{
		Status: http.StatusTooManyRequests, Type: typeRateLimit, Code: "rate_limit",
		Message: "Too many requests.", RetryAfter: time.Second,
	}
)

// fromLedger is the one place where the ledger's refusals become answers.
func fromLedger(err error) error {
	switch {
	case errors.Is(err, ledger.ErrKeyReused):
		return &standin.Error{
			Status: http.StatusBadRequest, Type: typeIdempotency, Code: "idempotency_error", Param: idempotencyHeader,
			Message: "This idempotency key was used with different parameters or another endpoint.",
		}
	case errors.Is(err, ledger.ErrKeyInFlight):
		return &standin.Error{
			Status: http.StatusConflict, Type: typeIdempotency, Code: "idempotency_in_flight", Param: idempotencyHeader,
			Message: "A request with this idempotency key is still in progress.",
		}
	case errors.Is(err, ledger.ErrNoSuchCharge):
		return standin.BadRequest("resource_missing", "charge", "No such charge.")
	case errors.Is(err, ledger.ErrOverRefund):
		return standin.BadRequest("charge_already_refunded", "amount", "The refund is larger than what is left of the charge.")
	default:
		return err
	}
}
