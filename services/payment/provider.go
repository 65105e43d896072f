package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/partner"
)

const (
	// callTimeout bounds an attempt. It leaves time within the lease to record the outcome.
	callTimeout = 8 * time.Second
	maxAnswer   = 64 << 10
)

// provider is the port to the payment provider, a Stripe-like HTTP API. Each
// charge and refund bears an idempotency key made of the order's id, so that
// however often it is repeated, a customer is charged once and refunded once.
type provider struct {
	client *partner.Client
	*breaker
	count callCounts
}

func newProvider(url string, key config.Secret, log *slog.Logger) *provider {
	return &provider{
		breaker: newBreaker(log),
		client:  partner.New(partner.Config{URL: url, Key: key, Timeout: callTimeout, MaxConns: callSlots, MaxAnswer: maxAnswer}),
	}
}

// charge charges the customer and returns the charge's id. After a declinedError
// there is no charge and never will be, after an unsentError none was asked for;
// after any other error there may be one.
func (p *provider) charge(ctx context.Context, pay *Payment) (string, error) {
	return p.made(p.call(ctx, pay, request{
		method: http.MethodPost, path: "/v1/charges", idempotencyKey: chargeKey(pay),
		body: map[string]any{
			"amount": pay.Amount, "currency": pay.Currency, "source": pay.Token,
			"metadata": map[string]string{"order_id": pay.ID.String()},
		},
	}))
}

func chargeKey(pay *Payment) string { return "charge-" + pay.ID.String() }

// refund gives back a whole charge and returns the refund's id. What somebody gave
// back at the provider by hand counts.
func (p *provider) refund(ctx context.Context, pay *Payment) (string, error) {
	id, err := p.made(p.call(ctx, pay, request{
		method: http.MethodPost, path: "/v1/refunds", idempotencyKey: "refund-" + pay.ID.String(),
		body: map[string]any{"charge": pay.ChargeID},
	}))
	err = ofRefund(err)
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.code == "charge_already_refunded" {
		return p.refunded(ctx, pay, err)
	}
	return id, err
}

// refunded returns the id of the last refund of a charge that was given back whole, or
// the refusal that led here.
func (p *provider) refunded(ctx context.Context, pay *Payment, refusal error) (string, error) {
	answer, err := p.call(ctx, pay, request{method: http.MethodGet, path: "/v1/refunds?limit=100&order_id=" + url.QueryEscape(pay.ID.String())})
	if err != nil {
		return "", ofRefund(err)
	}
	var list struct {
		Data []struct {
			ID     string `json:"id"`
			Amount int64  `json:"amount"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return "", errors.New("payment provider: the answer is no list of refunds")
	}
	left, last := pay.Amount, ""
	for _, r := range list.Data {
		left, last = left-r.Amount, r.ID
	}
	if left != 0 || last == "" {
		return "", refusal
	}
	return last, nil
}

// find returns the id of the charge of an order, or "" where the provider knows
// none. A request to charge may still be under way then.
func (p *provider) find(ctx context.Context, pay *Payment) (string, error) {
	answer, err := p.call(ctx, pay, request{method: http.MethodGet, path: "/v1/charges?order_id=" + url.QueryEscape(pay.ID.String())})
	if err != nil {
		return "", err
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil || list.Data == nil {
		return "", errors.New("payment provider: the answer is no list of charges")
	}
	if len(list.Data) == 0 {
		return "", nil
	}
	return list.Data[0].ID, nil
}

// errPrevented says that there is no charge and that none can be made any more.
var errPrevented = errors.New("payment provider: the charge is cancelled")

// prevent uses up the idempotency key of a charge, so that a request that is still
// under way can no longer be carried out. Afterwards there is no charge
// (errPrevented), or there was one, whose id it returns, or a declinedError.
func (p *provider) prevent(ctx context.Context, pay *Payment) (string, error) {
	answer, err := p.call(ctx, pay, request{
		method: http.MethodPost, path: "/v1/charges/cancel", body: map[string]any{"idempotency_key": chargeKey(pay)},
	})
	if err != nil {
		return "", err
	}
	var cancelled struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(answer, &cancelled) == nil && cancelled.Status == "canceled" {
		return "", errPrevented
	}
	return p.made(answer, nil)
}

// made reads the id of what was made.
func (p *provider) made(answer []byte, err error) (string, error) {
	if err != nil {
		return "", err
	}
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
		return "", errors.New("payment provider: the answer names no id")
	}
	return made.ID, nil
}

type request struct {
	method, path, idempotencyKey string
	body                         any
}

// call makes one call if the breaker lets it, and counts how it went.
func (p *provider) call(ctx context.Context, pay *Payment, r request) ([]byte, error) {
	answer, err := p.guard(pay.Attempts > 0, func() ([]byte, error) { return p.send(ctx, r) })
	p.count.note(err)
	if err == nil {
		return answer, nil
	}
	return nil, withoutToken(fmt.Errorf("payment provider: %w", err), pay.Token)
}

// send makes one call.
func (p *provider) send(ctx context.Context, r request) ([]byte, error) {
	answer, err := p.client.Do(ctx, partner.Request{
		Method: r.method, Path: r.path, Body: r.body, Header: map[string]string{idempotency.Header: r.idempotencyKey},
	})
	if unsent, ok := errors.AsType[*partner.UnsentError](err); ok {
		return nil, &unsentError{cause: unsent.Cause, tried: true}
	}
	if err != nil {
		return nil, err
	}
	if answer.Status == http.StatusOK {
		return answer.Body, nil
	}
	return nil, refusal(answer.Status, answer.Header, answer.Body)
}

// withoutToken keeps the token out of what is logged and recorded: providers like
// to quote what they refuse.
func withoutToken(err error, token string) error {
	if token == "" || !strings.Contains(err.Error(), token) {
		return err
	}
	return &maskedError{error: err, text: strings.ReplaceAll(err.Error(), token, "[token]")}
}

type maskedError struct {
	error
	text string
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.error }
