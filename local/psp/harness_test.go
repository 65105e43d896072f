package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin/standintest"
)

// provider is a running psp with the calls its tests make.
type provider struct{ *standintest.Server }

func startProvider(t testing.TB) provider {
	t.Helper()
	return provider{standintest.Start(t, program)}
}

func (p provider) do(ctx context.Context, method, path, key, body string) (standintest.Answer, error) {
	return p.Do(ctx, method, path, body, idempotency(key)...)
}

func (p provider) must(method, path, key, body string) standintest.Answer {
	p.T.Helper()
	return p.Must(method, path, body, idempotency(key)...)
}

func idempotency(key string) []string {
	if key == "" {
		return nil
	}
	return []string{idempotencyHeader, key}
}

func (p provider) charge(key, body string) standintest.Answer {
	p.T.Helper()
	return p.must(http.MethodPost, "/v1/charges", key, body)
}

func (p provider) refund(key, body string) standintest.Answer {
	p.T.Helper()
	return p.must(http.MethodPost, "/v1/refunds", key, body)
}

// succeeded makes a charge that must succeed.
func (p provider) succeeded(key, body string) ledger.Charge {
	p.T.Helper()
	a := p.charge(key, body)
	if a.Status != http.StatusOK {
		p.T.Fatalf("charge: %d %s", a.Status, a.Body)
	}
	return standintest.Parse[ledger.Charge](p.T, a)
}

func (p provider) charges(query string) []ledger.Charge {
	p.T.Helper()
	a := p.Must(http.MethodGet, "/v1/charges?limit=1000&"+query, "")
	return standintest.Parse[struct{ Data []ledger.Charge }](p.T, a).Data
}

func (p provider) summary() ledger.Summary {
	p.T.Helper()
	return standintest.Parse[ledger.Summary](p.T, p.Must(http.MethodGet, "/v1/ledger/summary", ""))
}

func chargeBody(source, orderID string) string {
	return fmt.Sprintf(`{"amount":1000,"currency":"GBP","source":%q,"metadata":{"order_id":%q}}`, source, orderID)
}

func refundBody(chargeID string, amount int64) string {
	return fmt.Sprintf(`{"charge":%q,"amount":%d}`, chargeID, amount)
}
