package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"

	"quadrille.internal/events"
	"quadrille.internal/platform/config"
)

const (
	// callTimeout leaves time within the lease to record the outcome.
	callTimeout = 8 * time.Second
	maxAnswer   = 64 << 10
	// The breaker opens after this many failures in a row and tries again after a
	// while: a provider that is down is not helped by being asked.
	breakAfter = 10
	breakFor   = 2 * time.Second
	probes     = 4 // calls that a breaker lets through to see whether it may close
)

// provider is the port to the payment provider, a Stripe-like HTTP API. Each
// call bears an idempotency key made of the order's id, so that however often it
// is repeated, a customer is charged once and refunded once.
type provider struct {
	url     string
	key     config.Secret
	client  *http.Client
	breaker *gobreaker.CircuitBreaker[[]byte]
}

func newProvider(url string, key config.Secret) *provider {
	return &provider{
		url: url, key: key,
		client: &http.Client{
			Timeout:   callTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: windows, MaxConnsPerHost: windows, IdleConnTimeout: time.Minute},
		},
		breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
			Name: "payment provider", Timeout: breakFor, MaxRequests: probes,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
			// A decline is a good answer to a bad card.
			IsSuccessful: func(err error) bool {
				_, declined := errors.AsType[*declinedError](err)
				return err == nil || declined
			},
		}),
	}
}

// open returns how many calls make sense now.
func (p *provider) open() int {
	switch p.breaker.State() {
	case gobreaker.StateOpen:
		return 0
	case gobreaker.StateHalfOpen:
		return probes
	case gobreaker.StateClosed:
	}
	return math.MaxInt
}

// declinedError is the provider's final no.
type declinedError struct{ Reason events.Reason }

func (e *declinedError) Error() string { return e.Reason.Code + ": " + e.Reason.Message }

// charge charges the customer and returns the charge's id. After a declinedError
// there is no charge and never will be; after any other error there may be.
func (p *provider) charge(ctx context.Context, pay *Payment) (string, error) {
	return p.post(ctx, "/v1/charges", "charge-"+pay.ID.String(), map[string]any{
		"amount": pay.Amount, "currency": pay.Currency, "source": pay.Token,
		"metadata": map[string]string{"order_id": pay.ID.String()},
	})
}

// refund gives back a whole charge and returns the refund's id.
func (p *provider) refund(ctx context.Context, pay *Payment) (string, error) {
	return p.post(ctx, "/v1/refunds", "refund-"+pay.ID.String(), map[string]any{"charge": pay.ChargeID})
}

func (p *provider) post(ctx context.Context, path, idempotencyKey string, body any) (string, error) {
	payload, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	answer, err := p.breaker.Execute(func() ([]byte, error) {
		return p.send(ctx, path, idempotencyKey, payload)
	})
	if err != nil {
		return "", fmt.Errorf("payment provider: %w", err)
	}
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
		return "", errors.New("payment provider: the answer names no id")
	}
	return made.ID, nil
}

func (p *provider) send(ctx context.Context, path, idempotencyKey string, payload []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.key.Reveal())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", idempotencyKey)
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end or given up
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return answer, nil
	}
	return nil, refusal(res.StatusCode, answer)
}

// refusal tells a final no from trouble that a later attempt may not have. Only
// a decline and a bad request about the means of payment or the amount are
// final, since the order will never have others; anything else may be our fault,
// or passing, and must not cost the customer the order.
func refusal(status int, answer []byte) error {
	var problem struct {
		Error struct {
			Code    string `json:"code"`
			Param   string `json:"param"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(answer, &problem) // an answer that is no JSON is trouble too
	e := problem.Error
	switch {
	case status == http.StatusPaymentRequired && e.Code == "insufficient_funds":
		return &declinedError{events.Reason{Code: events.ReasonInsufficientFunds, Message: "Your account has insufficient funds."}}
	case status == http.StatusPaymentRequired:
		return &declinedError{events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
	case status == http.StatusBadRequest && e.Param == "source":
		return &declinedError{events.Reason{Code: events.ReasonPaymentInvalid, Message: "Your means of payment is not valid."}}
	case status == http.StatusBadRequest && e.Param == "amount":
		return &declinedError{events.Reason{Code: events.ReasonPaymentInvalid, Message: "An amount this large cannot be paid."}}
	default:
		return fmt.Errorf("status %d: %s %s", status, e.Code, e.Message)
	}
}
