package payment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// The provider is away; customers' orders are cancelled meanwhile; it comes back.
// Nobody is charged, to be refunded or not.
func TestCancelledWhileTheProviderIsAwayIsNeverCharged(t *testing.T) {
	f := newFixture(t, 0)
	f.psp.mode("down")
	r := f.replica(t).withCashier(t)
	sentInVain := reserveMany(t, r, 20, "tok_success") // before the breaker opens
	servicetest.Await(t, "breaker is open", func() bool { return r.provider.open() == 0 })
	ids := append(sentInVain, reserveMany(t, r, 200, "tok_success")...)
	for _, id := range ids {
		r.deliver(t, orderCancelled(id))
	}
	f.psp.mode("ok")
	for _, id := range ids {
		servicetest.Await(t, "payment has ended", func() bool { return f.payment(t, id).EndedAt != nil })
		if p := f.payment(t, id); p.Status != Void {
			t.Errorf("ends %s, want %s", p.Status, Void)
		}
		f.expect(t, id, []string{}, money{})
	}
}

// Payments that the provider refuses end, and hold up no others.
func TestRefusedPaymentsHoldUpNoOthers(t *testing.T) {
	for _, bad := range []int{0, 60, 1_000} {
		t.Run(strconv.Itoa(bad), func(t *testing.T) {
			f := newFixture(t, 0)
			r := f.replica(t).withCashier(t)
			refused := make([]inbox.Message, bad)
			for i := range refused {
				e := inventoryReserved(uuid.New(), "tok_success")
				e.Total.Currency = "KPW" // which the provider does not take
				refused[i] = servicetest.Message(t, e, epoch)
			}
			r.Deliver(refused...)
			var good []uuid.UUID
			for range 20 {
				good = append(good, reserveMany(t, r, 20, "tok_success")...)
				f.await(t, good[len(good)-1], Completed)
			}
			var slowest time.Duration
			for _, id := range good {
				p := f.await(t, id, Completed)
				slowest = max(slowest, p.CompletedAt.Sub(*p.RequestedAt))
			}
			t.Logf("beside %d refused payments the slowest of %d good ones took %s", bad, len(good), slowest)
			if slowest > time.Minute { // they wait for the calls before them, and no longer
				t.Errorf("beside %d refused payments a good one took %s", bad, slowest)
			}
			// Each bad one was asked for once, and none counted against the provider.
			n := &r.provider.count
			if refused, failed := n.refused.Load(), n.failed.Load(); refused != int64(bad) || failed > 0 {
				t.Errorf("refused %d and failed %d calls, want %d and 0", refused, failed, bad)
			}
		})
	}
}

// Where there is no connection nothing was sent, and cancelling is enough.
func TestNeverConnected(t *testing.T) {
	f := newFixture(t, 0)
	for name, url := range map[string]string{
		"connection refused": "http://127.0.0.1:1",
		"no such host":       "http://provider.invalid",
		"no certificate":     strings.Replace(f.psp.URL, "http:", "https:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := f.replicaOf(t, url, f.psp.Key).withCashier(t)
			id := uuid.New()
			r.deliver(t, inventoryReserved(id, "tok_success"))
			servicetest.Await(t, "it was tried", func() bool { p := f.payment(t, id); return p.Attempts > 0 && p.SentAt == nil })
			r.deliver(t, orderCancelled(id))
			f.await(t, id, Void)
		})
	}
}

// A request to charge is held up at the provider: a look shows no charge, but it
// would come. The order is cancelled; the request then finds its key used up.
func TestRequestThatArrivesLate(t *testing.T) {
	f := newFixture(t, 10*time.Second)
	f.psp.mode("late")
	r := f.replica(t).withCashier(t)
	id, probe := uuid.New(), uuid.New()
	r.deliver(t, inventoryReserved(id, "tok_success"))
	servicetest.Await(t, "the connection was cut", func() bool { return f.payment(t, id).Attempts > 0 })
	r.deliver(t, orderCancelled(id))
	later := f.replica(t) // its request is held up after the first one's
	if _, err := later.provider.charge(t.Context(), paymentOf(probe)); err == nil {
		t.Fatal("a request that is held up was answered")
	}
	f.psp.mode("ok")
	f.await(t, id, Void)
	servicetest.Await(t, "a later request has arrived", func() bool { return f.psp.money(probe).charges > 0 })
	f.expect(t, id, []string{}, money{})
}

// paymentOf returns a payment that was requested and taken up.
func paymentOf(id uuid.UUID) *Payment {
	p := NewPayment(id)
	p.Request(inventoryReserved(id, "tok_success"), "", epoch)
	p.TakeUp(epoch)
	return p
}

// An attempt that waited until its lease is nearly over is given up unsent.
func TestAttemptThatWaitedTooLong(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t)
	servicetest.Run(t, r.outcomes.Run)
	id := reserveMany(t, r, 1, "tok_success")[0]
	p := <-r.fresh
	f.exec(t, `
		update payments set due_at = now() + interval '1 s', sent_at = now() + interval '1 s' - interval '15 s'`)
	p.DueAt = f.payment(t, id).DueAt
	r.attend(t.Context(), p, func() {})
	r.deliver(t, orderCancelled(id))
	f.await(t, id, Void)
	f.expect(t, id, []string{}, money{})
}

// A version of before the mark asks the provider without leaving it.
func TestChargeOfAnOlderVersionIsSettled(t *testing.T) {
	f := newFixture(t, 0)
	id := uuid.New()
	f.exec(t, `
		insert into payments (id, status, amount, currency, token, traceparent, cancelled, charge_id, refund_id, attempts, last_error, due_at, version)
		values ($1, 'charging', $2, 'GBP', 'tok_success', '', false, '', '', 0, '', now(), 1)`, id, amount)
	died := f.replica(t)
	if _, err := died.provider.charge(t.Context(), f.payment(t, id)); err != nil {
		t.Fatal(err)
	}
	died.deliver(t, orderCancelled(id))
	f.replica(t).withCashier(t)
	f.await(t, id, Refunded)
	f.expect(t, id, bothEvents, givenBack)
}

// Our key is wrong: the provider is not hammered, and somebody is told.
func TestWrongKey(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replicaOf(t, f.psp.URL, "sk_old").withCashier(t)
	for range 5 {
		reserveMany(t, r, 50, "tok_success")
	}
	servicetest.Await(t, "provider is left alone", func() bool { return r.provider.open() == 0 })
	if n := r.provider.count.keyRefused.Load(); n > callSlots || !r.provider.keyRefused.Load() {
		t.Errorf("asked %d times with a wrong key, alarm %v", n, r.provider.keyRefused.Load())
	}
	if pause := time.Until(time.Unix(0, r.provider.quietUntil.Load())); pause < keyPause/2 {
		t.Errorf("asks again in %s", pause)
	}
}

// While the provider is on trial those go first that were never tried, the newest
// before all: a crowd that failed before, or is at fault, is not what tells.
func TestSweepHeedsTheBreaker(t *testing.T) {
	f := newFixture(t, 0)
	f.psp.mode("down")
	r := f.replica(t)
	for range breakAfter {
		if _, err := r.provider.charge(t.Context(), paymentOf(uuid.New())); err == nil {
			t.Fatal("charged while the provider is down")
		}
	}
	until := r.provider.quietUntil.Swap(time.Now().Add(time.Hour).UnixNano()) // however long the next steps take
	tried := reserveMany(t, r, 10, "tok_success")
	f.exec(t, `update payments set attempts = 3, due_at = now() - interval '1 h'`)
	reserveMany(t, r, 10, "tok_success")
	newest := reserveMany(t, r, probes, "tok_success")
	if err := r.sweep(t.Context()); err != nil || len(r.fresh)+len(r.retries) > 0 {
		t.Errorf("took up %d, error %v, while the breaker is open", len(r.fresh)+len(r.retries), err)
	}
	r.provider.quietUntil.Store(until)
	servicetest.Await(t, "breaker lets some through", func() bool { return r.provider.open() > 0 })
	if err := r.sweep(t.Context()); err != nil || len(r.fresh) != probes || len(r.retries) > 0 {
		t.Fatalf("took up %d and %d, error %v, want %d never tried", len(r.fresh), len(r.retries), err, probes)
	}
	for range probes {
		if p := <-r.fresh; !slices.Contains(newest, p.ID) {
			t.Errorf("took up %s, want one of the newest", p.ID)
		}
	}
	for _, id := range tried {
		if p := f.payment(t, id); p.SentAt != nil {
			t.Errorf("%s is marked as sent, and was not", id)
		}
	}
}

// What was given back at the provider by hand is not given back again, and ends the
// payment; so does what was given back in parts.
func TestRefundedByHand(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t).withCashier(t)
	for name, parts := range map[string][]int{"whole": {amount}, "in parts": {amount - 1, 1}} {
		t.Run(name, func(t *testing.T) {
			id := uuid.New()
			r.deliver(t, inventoryReserved(id, "tok_success"))
			p := f.await(t, id, Completed)
			for _, part := range parts {
				f.psp.call("POST", "/v1/refunds", fmt.Sprintf(`{"charge":%q,"amount":%d}`, p.ChargeID, part), &struct{}{})
			}
			r.deliver(t, orderCancelled(id))
			f.await(t, id, Refunded)
			f.expect(t, id, bothEvents, money{charges: 1, refunds: len(parts)})
		})
	}
}
