package main

import (
	"net/http"
	"testing"
	"time"

	"quadrille.internal/local/standin/standintest"
)

func (p provider) cancelKey(key string) standintest.Answer {
	p.T.Helper()
	return p.must("POST", "/v1/charges/cancel", "", `{"idempotency_key":"`+key+`"}`)
}

// A cancelled key is used up: no request with it is carried out any more, whatever
// it asks for, also after a restart.
func TestCancelledKeyChargesNothing(t *testing.T) {
	p := startProvider(t)
	for range 2 { // it may be repeated
		a := p.cancelKey("k")
		if got := standintest.Parse[struct{ Status string }](t, a); a.Status != http.StatusOK || got.Status != "canceled" {
			t.Fatalf("cancel: %d %s", a.Status, a.Body)
		}
	}
	for range 2 {
		standintest.Expect(t, p.charge("k", chargeBody("tok_success", "o")), http.StatusBadRequest, "charge_canceled")
		p.Restart()
	}
	if n := len(p.charges("")); n != 0 {
		t.Fatalf("%d charges", n)
	}
	standintest.Expect(t, p.cancelKey(""), http.StatusBadRequest, "parameter_missing")
}

// What was done before cannot be cancelled: the answer says what it was.
func TestCancelTellsWhatWasDone(t *testing.T) {
	p := startProvider(t)
	made := p.succeeded("paid", chargeBody("tok_success", "o"))
	p.charge("declined", chargeBody("tok_decline", "o"))
	if a := p.cancelKey("paid"); a.Status != http.StatusOK || standintest.Parse[struct{ ID string }](t, a).ID != made.ID {
		t.Errorf("cancel after a charge: %d %s", a.Status, a.Body)
	}
	standintest.Expect(t, p.cancelKey("declined"), http.StatusPaymentRequired, "card_declined")
}

// While a request is held up nothing of it is known. It is carried out in the end,
// unless its key was cancelled meanwhile.
func TestOutageLate(t *testing.T) {
	p := startProvider(t)
	p.Stop()
	p.Config.Slow = time.Hour // until the server stops
	p.Start()
	p.must("POST", "/admin/mode", "", `{"mode":"late"}`)
	for _, key := range []string{"left", "cancelled"} {
		if a, err := p.do(t.Context(), "POST", "/v1/charges", key, chargeBody("tok_success", key)); err == nil {
			t.Fatalf("answered %d %s", a.Status, a.Body)
		}
	}
	p.must("POST", "/admin/mode", "", `{"mode":"ok"}`)
	if n := len(p.charges("")); n != 0 {
		t.Fatalf("%d charges while they are held up", n)
	}
	p.cancelKey("cancelled")
	p.Restart()
	if got := p.charges(""); len(got) != 1 || got[0].Metadata["order_id"] != "left" {
		t.Fatalf("carried out late: %+v", got)
	}
}

func TestOutageLimited(t *testing.T) {
	p := startProvider(t)
	p.must("POST", "/admin/mode", "", `{"mode":"limited"}`)
	a := p.charge("k", chargeBody("tok_success", "o"))
	standintest.Expect(t, a, http.StatusTooManyRequests, "rate_limit")
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
}
