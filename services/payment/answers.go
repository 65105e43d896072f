package payment

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"quadrille.internal/events"
)

// maxRetryAfter bounds for how long a provider's Retry-After is believed.
const maxRetryAfter = 2 * time.Minute

// declinedError is the provider's final no to a charge.
type declinedError struct {
	Reason events.Reason
	answer *refusedError
}

func (e *declinedError) Error() string { return e.Reason.Code + ": " + e.Reason.Message }

// unsentError says that a request provably did not leave: it was held back here,
// or tried and there was no connection to write it to.
type unsentError struct {
	cause error
	tried bool
}

func (e *unsentError) Error() string { return "not sent: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }

// refusedError is any other answer but success.
type refusedError struct {
	status        int
	code, message string
	retryAfter    time.Duration
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("status %d: %s %s", e.status, e.code, e.message)
}

// passing reports whether the same request may be answered otherwise later, though
// nothing about the payment changes.
func (e *refusedError) passing() bool {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	default:
		return e.status/100 != 4
	}
}

// aboutKey reports whether it is our key that was refused, not the request.
func (e *refusedError) aboutKey() bool {
	return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
}

// retryAfter returns how long the provider wants to be left alone, or 0.
func retryAfter(err error) time.Duration {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.retryAfter
	}
	return 0
}

// refusal tells a final no from what is not about the customer. Only a decline and
// a bad request about the means of payment or the amount are final, since the order
// will never have others; anything else may be our fault, or passing, and must not
// cost the customer the order at once.
func refusal(status int, header http.Header, answer []byte) error {
	var problem struct {
		Error struct {
			Code    string `json:"code"`
			Param   string `json:"param"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(answer, &problem) // an answer that is no JSON is trouble too
	e := problem.Error
	refused := &refusedError{status: status, code: e.Code, message: e.Message, retryAfter: parseRetryAfter(header.Get("Retry-After"))}
	declined := func(code, message string) error {
		return &declinedError{events.Reason{Code: code, Message: message}, refused}
	}
	switch {
	case status == http.StatusPaymentRequired && e.Code == "insufficient_funds":
		return declined(events.ReasonInsufficientFunds, "Your account has insufficient funds.")
	case status == http.StatusPaymentRequired:
		return declined(events.ReasonPaymentDeclined, "Your payment was declined.")
	case status == http.StatusBadRequest && e.Param == "source":
		return declined(events.ReasonPaymentInvalid, "Your means of payment is not valid.")
	case status == http.StatusBadRequest && e.Param == "amount":
		return declined(events.ReasonPaymentInvalid, "This amount cannot be paid.")
	case status == http.StatusBadRequest && e.Code == "charge_canceled":
		return errPrevented
	default:
		return refused
	}
}

// ofRefund reads an answer to a refund: a no that would be the customer's to a charge
// is for an operator here.
func ofRefund(err error) error {
	if declined, ok := errors.AsType[*declinedError](err); ok {
		return fmt.Errorf("payment provider: %w", declined.answer)
	}
	return err
}

// parseRetryAfter reads seconds or a date (RFC 9110).
func parseRetryAfter(v string) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.Atoi(v); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter.Seconds()))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// callCounts counts calls of the provider by outcome.
type callCounts struct {
	ok, declined, refused, failed, keyRefused, unsent atomic.Int64
}

func (c *callCounts) note(err error) {
	_, declined := errors.AsType[*declinedError](err)
	_, unsent := errors.AsType[*unsentError](err)
	refused, answered := errors.AsType[*refusedError](err)
	switch {
	case err == nil:
		c.ok.Add(1)
	case declined, errors.Is(err, errPrevented):
		c.declined.Add(1)
	case unsent:
		c.unsent.Add(1)
	case answered && refused.aboutKey():
		c.keyRefused.Add(1)
	case answered && !refused.passing():
		c.refused.Add(1)
	default:
		c.failed.Add(1)
	}
}
