package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin/standintest"
)

func TestDeclines(t *testing.T) {
	p := startProvider(t)
	for source, code := range map[string]string{"tok_decline": "card_declined", "tok_insufficient_funds": "insufficient_funds"} {
		standintest.Expect(t, p.charge(source, chargeBody(source, "o")), http.StatusPaymentRequired, code)
	}
	if s := p.summary(); s.Charges != 0 || s.Declines["card_declined"] != 1 || s.Declines["insufficient_funds"] != 1 {
		t.Fatalf("summary %+v", s)
	}
}

func TestFlakyFailsTwiceThenCharges(t *testing.T) {
	p := startProvider(t)
	for range 2 {
		standintest.Expect(t, p.charge("k", chargeBody("tok_flaky", "o")), http.StatusInternalServerError, "internal")
		if n := len(p.charges("")); n != 0 {
			t.Fatalf("%d charges after a 500", n)
		}
	}
	p.succeeded("k", chargeBody("tok_flaky", "o"))
	if a := p.charge("k", chargeBody("tok_flaky", "o")); a.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("fourth answer %d %s", a.Status, a.Body)
	}
	standintest.Expect(t, p.charge("k2", chargeBody("tok_flaky", "o")), http.StatusInternalServerError, "internal")
}

func TestRateLimitedOnce(t *testing.T) {
	p := startProvider(t)
	a := p.charge("k", chargeBody("tok_rate_limited", "o"))
	standintest.Expect(t, a, http.StatusTooManyRequests, "rate_limit")
	if a.Header.Get("Retry-After") != "1" {
		t.Fatalf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	p.succeeded("k", chargeBody("tok_rate_limited", "o"))
}

func TestLostReplyHasChargedAndReplays(t *testing.T) {
	p := startProvider(t)
	if a, err := p.do(t.Context(), "POST", "/v1/charges", "k", chargeBody("tok_lost_reply", "o")); err == nil {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	p.Restart()
	charges := p.charges("order_id=o")
	if len(charges) != 1 {
		t.Fatalf("%d charges behind the lost reply", len(charges))
	}
	a := p.charge("k", chargeBody("tok_lost_reply", "o"))
	if got := standintest.Parse[ledger.Charge](t, a); a.Header.Get("Idempotent-Replayed") != "true" || got.ID != charges[0].ID {
		t.Fatalf("retry answered %d %s", a.Status, a.Body)
	}
}

func TestLostReplyOfARefund(t *testing.T) {
	p := startProvider(t)
	c := p.succeeded("k", chargeBody("tok_lost_reply_refund", "o"))
	if a, err := p.do(t.Context(), "POST", "/v1/refunds", "r", refundBody(c.ID, 1000)); err == nil {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	if got := p.charges("")[0].AmountRefunded; got != 1000 {
		t.Fatalf("amount_refunded %d behind the lost reply", got)
	}
	if a := p.refund("r", refundBody(c.ID, 1000)); a.Status != http.StatusOK || a.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("retry answered %d %s", a.Status, a.Body)
	}
}

func TestSlowTakesItsTime(t *testing.T) {
	p := startProvider(t)
	begin := time.Now()
	p.succeeded("k", chargeBody("tok_slow", "o"))
	if took := time.Since(begin); took < p.Config.Slow {
		t.Fatalf("answered after %s", took)
	}
}

// Two requests share a key and an endless wait: the 409 of one is the signal
// that the other waits. Its caller hangs up; stopping ends the wait.
func TestSlowChargesAtTheEndThoughTheCallerHungUp(t *testing.T) {
	p := startProvider(t)
	p.Stop()
	p.Config.Slow = time.Hour
	p.Start()

	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	answers := make(chan standintest.Answer, 2)
	for range 2 {
		go func() {
			if a, err := p.do(ctx, "POST", "/v1/charges", "k", chargeBody("tok_slow", "o")); err == nil {
				answers <- a
			}
		}()
	}
	standintest.Expect(t, <-answers, http.StatusConflict, "idempotency_in_flight")
	p.succeeded("another", chargeBody("tok_success", "another")) // later in the file than an early charge would be
	if n := len(p.charges("order_id=o")); n != 0 {
		t.Fatalf("%d charges before the end of the wait", n)
	}
	hangUp()
	p.Restart()
	if n := len(p.charges("order_id=o")); n != 1 {
		t.Fatalf("%d charges after the wait", n)
	}
}

func TestOutageDown(t *testing.T) {
	p := startProvider(t)
	p.must("POST", "/admin/mode", "", `{"mode":"down"}`)
	standintest.Expect(t, p.charge("k", chargeBody("tok_success", "o")), http.StatusServiceUnavailable, "unavailable")
	if a, err := p.do(t.Context(), "POST", "/v1/charges", "k", chargeBody("tok_success", "o")); err == nil {
		t.Fatalf("every second call is cut, yet answered %d", a.Status)
	}
	if a := p.must("GET", "/healthz", "", ""); a.Status != http.StatusOK {
		t.Fatalf("health %d", a.Status)
	}
	p.must("POST", "/admin/mode", "", `{"mode":"ok"}`)
	if n := len(p.charges("")); n != 0 {
		t.Fatalf("%d charges while down", n)
	}
}

func TestOutageLastsForTheMillisecondsAsked(t *testing.T) {
	p := startProvider(t)
	p.must("POST", "/admin/mode", "", `{"mode":"down","for_ms":1}`)
	for set := time.Now(); ; {
		a, err := p.do(t.Context(), "GET", "/v1/charges", "", "")
		if err == nil && a.Status == http.StatusOK {
			return
		}
		if time.Since(set) > time.Minute {
			t.Fatalf("still down: %v %d", err, a.Status)
		}
	}
}

func TestOutageSlow(t *testing.T) {
	p := startProvider(t)
	p.must("POST", "/admin/mode", "", `{"mode":"slow"}`)
	begin := time.Now()
	p.succeeded("k", chargeBody("tok_success", "o"))
	if took := time.Since(begin); took < p.Config.Slow {
		t.Fatalf("answered after %s", took)
	}
	for _, body := range []string{`{"mode":"odd"}`, `{"mode":"down","for_ms":-1}`, `{"mode":"down","for":1}`} {
		if a := p.must("POST", "/admin/mode", "", body); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d", body, a.Status)
		}
	}
}
