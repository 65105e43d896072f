package payment

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"quadrille.internal/events"
)

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		status int
		answer string
		final  string // the reason's code, or "" for none
		passes bool   // where it is none
	}{
		{http.StatusPaymentRequired, `{"error":{"code":"card_declined"}}`, events.ReasonPaymentDeclined, false},
		{http.StatusPaymentRequired, `{"error":{"code":"insufficient_funds"}}`, events.ReasonInsufficientFunds, false},
		{http.StatusPaymentRequired, `not JSON`, events.ReasonPaymentDeclined, false},
		{http.StatusBadRequest, `{"error":{"param":"source"}}`, events.ReasonPaymentInvalid, false},
		{http.StatusBadRequest, `{"error":{"param":"amount"}}`, events.ReasonPaymentInvalid, false},
		{http.StatusBadRequest, `{"error":{"code":"currency_unsupported","param":"currency"}}`, "", false},
		{http.StatusBadRequest, `{"error":{"code":"idempotency_error"}}`, "", false},
		{http.StatusBadRequest, `not JSON`, "", false},
		{http.StatusNotFound, `{}`, "", false},
		{http.StatusRequestEntityTooLarge, `{}`, "", false},
		{http.StatusUnprocessableEntity, `{}`, "", false},
		{http.StatusUnauthorized, `{"error":{"code":"api_key_invalid"}}`, "", true},
		{http.StatusForbidden, `{}`, "", true},
		{http.StatusRequestTimeout, `{}`, "", true},
		{http.StatusConflict, `{"error":{"code":"idempotency_in_flight"}}`, "", true},
		{http.StatusTooManyRequests, `{}`, "", true},
		{http.StatusInternalServerError, `{"error":{"param":"source"}}`, "", true},
		{http.StatusServiceUnavailable, ``, "", true},
		{http.StatusNoContent, ``, "", true},
	} {
		err := refusal(c.status, http.Header{}, []byte(c.answer))
		var final string
		if d, ok := errors.AsType[*declinedError](err); ok {
			final = d.Reason.Code
		}
		refused, ok := errors.AsType[*refusedError](err)
		if err == nil || final != c.final || ok != (final == "") || ok && refused.passing() != c.passes {
			t.Errorf("%d %s: %v, want final %q, passing %v", c.status, c.answer, err, c.final, c.passes)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Now().Add(110 * time.Second).UTC().Format(http.TimeFormat)
	for v, want := range map[string][2]time.Duration{
		"": {0, 0}, "0": {0, 0}, "7": {7 * time.Second, 7 * time.Second}, "-1": {0, 0}, "soon": {0, 0},
		"86400": {maxRetryAfter, maxRetryAfter}, "99999999999": {maxRetryAfter, maxRetryAfter},
		date: {20 * time.Second, 110 * time.Second}, "Fri, 01 Jan 1999 00:00:00 GMT": {0, 0},
	} {
		if got := parseRetryAfter(v); got < want[0] || got > want[1] {
			t.Errorf("Retry-After %q: %s, want %s", v, got, want)
		}
	}
}

func TestErrorsCarryNoToken(t *testing.T) {
	err := withoutToken(&refusedError{status: 400, message: "No such token: 'tok_1'."}, "tok_1")
	if _, ok := errors.AsType[*refusedError](err); !ok || strings.Contains(err.Error(), "tok_1") {
		t.Errorf("error %q", err)
	}
}

// A no to a refund is never the customer's: an operator sees it.
func TestRefusedRefundIsNoDecline(t *testing.T) {
	for _, body := range []string{`{"error":{"code":"insufficient_funds"}}`, `{"error":{"param":"amount"}}`} {
		for _, status := range []int{http.StatusPaymentRequired, http.StatusBadRequest} {
			err := ofRefund(withoutToken(refusal(status, http.Header{}, []byte(body)), ""))
			refused, ok := errors.AsType[*refusedError](err)
			if _, declined := errors.AsType[*declinedError](err); declined || !ok || refused.passing() {
				t.Errorf("%d %s: %v, want a refusal that does not pass", status, body, err)
			}
		}
	}
}
