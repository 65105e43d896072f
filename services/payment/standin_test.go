package payment

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
)

// standIn is the payment provider's stand-in.
type standIn struct {
	servicetest.StandIn
	t testing.TB
}

// startStandIn starts a provider with an empty ledger. slow is what tok_slow and
// mode slow wait.
func startStandIn(t testing.TB, slow time.Duration) *standIn {
	t.Helper()
	return &standIn{servicetest.StartStandIn(t, "../../local/psp", "-slow", slow.String()), t}
}

// money is what moved for an order, by the provider's own ledger.
type money struct {
	charges, refunds int
	left             int64 // charged and not refunded
}

func (p *standIn) money(order uuid.UUID) (m money) {
	p.t.Helper()
	charges, refunds := p.list("charges", order), p.list("refunds", order)
	m.charges, m.refunds = len(charges), len(refunds)
	for _, c := range charges {
		m.left += c.Amount
	}
	for _, r := range refunds {
		m.left -= r.Amount
	}
	return m
}

type entry struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
}

func (p *standIn) list(what string, order uuid.UUID) []entry {
	p.t.Helper()
	var page struct{ Data []entry }
	p.call(http.MethodGet, "/v1/"+what+"?limit=1000&order_id="+order.String(), "", &page)
	return page.Data
}

// mode switches an outage on or off.
func (p *standIn) mode(mode string) {
	p.t.Helper()
	p.call(http.MethodPost, "/admin/mode", `{"mode":"`+mode+`"}`, &struct{}{})
}

func (p *standIn) call(method, path, body string, answer any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.Key)
	req.Header.Set("Idempotency-Key", uuid.NewString())
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err := errors.Join(err, json.NewDecoder(res.Body).Decode(answer)); err != nil {
		p.t.Fatalf("provider: %s %s: %v", method, path, err)
	}
}
