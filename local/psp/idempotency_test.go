package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"quadrille.internal/local/standin/standintest"
)

func TestSameKeySameAnswer(t *testing.T) {
	p := startProvider(t)
	reordered := `{ "metadata":{"order_id":"o"}, "source":"tok_success", "currency":"GBP", "amount":1000 }`
	for _, c := range []struct{ name, first, again string }{
		{"charge", chargeBody("tok_success", "o"), chargeBody("tok_success", "o")},
		{"decline", chargeBody("tok_decline", "o"), chargeBody("tok_decline", "o")},
		{"fields in another order", chargeBody("tok_success", "o"), reordered},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := p.charge(c.name, c.first)
			if first.Header.Get("Idempotent-Replayed") != "" {
				t.Fatal("first answer claims to be a replay")
			}
			p.Restart()
			again := p.charge(c.name, c.again)
			if again.Header.Get("Idempotent-Replayed") != "true" || again.Status != first.Status || again.Body != first.Body {
				t.Fatalf("first %d %s, again %d %s", first.Status, first.Body, again.Status, again.Body)
			}
		})
	}
	if s := p.summary(); s.Charges != 2 || s.Declines["card_declined"] != 1 {
		t.Fatalf("summary %+v", s)
	}
}

func TestReplayIsTheFirstAnswerThoughRefundedSince(t *testing.T) {
	p := startProvider(t)
	first := p.charge("k", chargeBody("tok_success", "o"))
	c := p.charges("")[0]
	refund := p.refund("r", refundBody(c.ID, 1000))
	if again := p.refund("r", refundBody(c.ID, 1000)); again.Body != refund.Body || again.Status != http.StatusOK {
		t.Fatalf("refund replayed as %d %s", again.Status, again.Body)
	}
	if again := p.charge("k", chargeBody("tok_success", "o")); again.Body != first.Body {
		t.Fatalf("charge replayed as %s", again.Body)
	}
}

func TestKeyBelongsToOneRequest(t *testing.T) {
	p := startProvider(t)
	c := p.succeeded("k", chargeBody("tok_success", "o"))
	standintest.Expect(t, p.charge("k", chargeBody("tok_success", "other")), http.StatusBadRequest, "idempotency_error")
	standintest.Expect(t, p.refund("k", refundBody(c.ID, 1)), http.StatusBadRequest, "idempotency_error")
}

func TestHundredAtOnceWithOneKeyChargeOnce(t *testing.T) {
	p := startProvider(t)
	answers := make([]standintest.Answer, 100)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = p.charge("k", chargeBody("tok_success", "o")) })
	}
	wg.Wait()

	charges := p.charges("order_id=o")
	if len(charges) != 1 {
		t.Fatalf("%d charges", len(charges))
	}
	want := p.charge("k", chargeBody("tok_success", "o")).Body
	firsts := 0
	for _, a := range answers {
		switch {
		case a.Status == http.StatusConflict:
			standintest.Expect(t, a, http.StatusConflict, "idempotency_in_flight")
		case a.Body != want:
			t.Fatalf("answer %d %s, want %s", a.Status, a.Body, want)
		case a.Header.Get("Idempotent-Replayed") == "":
			firsts++
		}
	}
	if firsts != 1 {
		t.Fatalf("%d answers claim to be the first", firsts)
	}
}

func TestManyKeysAtOnceChargeEach(t *testing.T) {
	p := startProvider(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { p.charge(fmt.Sprint("k", i), chargeBody("tok_success", fmt.Sprint("o", i))) })
	}
	wg.Wait()
	ids, orders := map[string]bool{}, map[string]bool{}
	for _, c := range p.charges("") {
		ids[c.ID], orders[c.Metadata["order_id"]] = true, true
	}
	if len(ids) != 100 || len(orders) != 100 {
		t.Fatalf("%d ids, %d orders", len(ids), len(orders))
	}
}
