package payment

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// expect checks what is announced of an order, and what the provider did.
func (f fixture) expect(t *testing.T, id uuid.UUID, told []string, want money) {
	t.Helper()
	if got := servicetest.Types(servicetest.Emitted(t, f.kit.Pool)[id]); !slices.Equal(got, told) {
		t.Errorf("announced %v, want %v", got, told)
	}
	if got := f.psp.money(id); got != want {
		t.Errorf("provider: %+v, want %+v", got, want)
	}
}

var (
	charged    = money{charges: 1, left: amount}
	givenBack  = money{charges: 1, refunds: 1}
	paidEvent  = []string{payment.TypeCompleted}
	failEvent  = []string{payment.TypeFailed}
	bothEvents = []string{payment.TypeCompleted, payment.TypeRefunded}
)

func TestEveryToken(t *testing.T) {
	f := newFixture(t, 200*time.Millisecond)
	r := f.replica(t).withCashier(t)
	for _, c := range []struct {
		token  string
		ends   Status
		reason string
		told   []string
		moved  money
	}{
		{"tok_success", Completed, "", paidEvent, charged},
		{"tok_decline", Failed, events.ReasonPaymentDeclined, failEvent, money{}},
		{"tok_insufficient_funds", Failed, events.ReasonInsufficientFunds, failEvent, money{}},
		{"tok_unknown", Failed, events.ReasonPaymentInvalid, failEvent, money{}},
		{"tok_slow", Completed, "", paidEvent, charged},
		{"tok_flaky", Completed, "", paidEvent, charged},
		{"tok_rate_limited", Completed, "", paidEvent, charged},
		{"tok_lost_reply", Completed, "", paidEvent, charged},
		{"tok_lost_reply_refund", Completed, "", paidEvent, charged},
	} {
		id := uuid.New()
		r.deliver(t, inventoryReserved(id, c.token))
		t.Run(c.token, func(t *testing.T) {
			p := f.await(t, id, c.ends)
			if c.reason != "" && (p.Reason == nil || p.Reason.Code != c.reason) {
				t.Errorf("reason %v, want %s", p.Reason, c.reason)
			}
			f.expect(t, id, c.told, c.moved)
			if p.Token != "" {
				t.Errorf("keeps token %s", p.Token)
			}

			// Whatever became of it: after a cancellation the customer has the money.
			r.deliver(t, orderCancelled(id))
			if c.ends == Completed {
				f.await(t, id, Refunded)
				f.expect(t, id, bothEvents, givenBack)
			}
		})
	}
}

func TestAmountTheProviderRefuses(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t).withCashier(t)
	for _, unpayable := range []int64{0, 1_000_000_000_000} {
		e := inventoryReserved(uuid.New(), "tok_success")
		e.Total.Amount = unpayable
		r.deliver(t, e)
		if p := f.await(t, e.OrderID, Failed); p.Reason.Code != events.ReasonPaymentInvalid {
			t.Errorf("reason %+v, want %s", p.Reason, events.ReasonPaymentInvalid)
		}
	}
}

func TestCancelledBeforeItIsReserved(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t).withCashier(t)
	id := uuid.New()
	r.deliver(t, orderCancelled(id))
	r.deliver(t, inventoryReserved(id, "tok_success"))
	f.await(t, id, Void)
	f.expect(t, id, []string{}, money{})
}

func TestCancelledWhileCharging(t *testing.T) {
	f := newFixture(t, 2*time.Second)
	r := f.replica(t).withCashier(t)
	var id uuid.UUID
	servicetest.Await(t, "one is cancelled while it is charged", func() bool {
		id = uuid.New()
		r.deliver(t, inventoryReserved(id, "tok_slow"))
		r.deliver(t, orderCancelled(id))
		p := f.payment(t, id)
		return p.Status == Charging && p.Cancelled
	})
	p := f.await(t, id, Refunded)
	if took := p.EndedAt.Sub(*p.RequestedAt); took >= lease {
		t.Errorf("charge and refund took %s: they waited for the sweep", took)
	}
	f.expect(t, id, bothEvents, givenBack)
}

// However reservation and cancellation come, and come again: in the end the
// customer has the money.
func TestEverySequenceOfReservationAndCancellation(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t).withCashier(t)
	ends := map[string][]Status{"tok_success": {Void, Refunded}, "tok_decline": {Void, Failed}}
	for token, allowed := range ends {
		for sequence := range servicetest.Redelivered(2) {
			id := uuid.New()
			told := []inbox.Message{
				servicetest.Message(t, inventoryReserved(id, token), epoch), servicetest.Message(t, orderCancelled(id), epoch),
			}
			for _, n := range sequence {
				r.Deliver(told[n])
			}
			servicetest.Await(t, "payment has ended", func() bool { return f.payment(t, id).EndedAt != nil })
			if p := f.payment(t, id); !slices.Contains(allowed, p.Status) {
				t.Errorf("%s, sequence %v: ends %s, want one of %v", token, sequence, p.Status, allowed)
			}
			if got := f.psp.money(id); got.left != 0 || got.charges > 1 {
				t.Errorf("%s, sequence %v: provider %+v", token, sequence, got)
			}
		}
	}
}

// reserveMany hands over orders of one token each and returns their ids.
func reserveMany(t *testing.T, r replica, orders int, token string) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, orders)
	batch := make([]inbox.Message, orders)
	for i := range ids {
		ids[i] = uuid.New()
		batch[i] = servicetest.Message(t, inventoryReserved(ids[i], token), epoch)
	}
	r.Deliver(batch...)
	return ids
}

func TestProviderDown(t *testing.T) {
	f := newFixture(t, 0)
	f.psp.mode("down")
	r := f.replica(t).withCashier(t)
	ids := reserveMany(t, r, 30, "tok_success")
	servicetest.Await(t, "breaker is open", func() bool { return r.provider.open() == 0 })
	f.psp.mode("ok")
	for _, id := range ids {
		f.await(t, id, Completed)
		f.expect(t, id, paidEvent, charged)
	}
	if r.provider.open() == 0 {
		t.Error("the breaker is still open")
	}
}

// A crash leaves intentions of which nobody knows how far they got.
func TestCrash(t *testing.T) {
	f := newFixture(t, 0)
	died := f.replica(t) // its cashier never runs
	notAsked, asked, cancelled := uuid.New(), uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{notAsked, asked, cancelled} {
		died.deliver(t, inventoryReserved(id, "tok_success"))
	}
	for _, id := range []uuid.UUID{asked, cancelled} { // charged, but not recorded
		if _, err := died.provider.charge(t.Context(), f.payment(t, id)); err != nil {
			t.Fatal(err)
		}
	}
	died.deliver(t, orderCancelled(cancelled))

	r := f.replica(t).withCashier(t)
	f.makeDue(t)
	f.await(t, notAsked, Completed)
	f.await(t, asked, Completed)
	f.await(t, cancelled, Refunded)
	f.expect(t, notAsked, paidEvent, charged)
	f.expect(t, asked, paidEvent, charged)
	f.expect(t, cancelled, bothEvents, givenBack)
	if len(r.fresh) > 0 {
		t.Errorf("%d intentions left", len(r.fresh))
	}
}

// The process that took up an intention has its lease: nobody else does meanwhile.
func TestLeaseKeepsOthersAway(t *testing.T) {
	f := newFixture(t, 0)
	first, second := f.replica(t), f.replica(t)
	reserveMany(t, first, 3, "tok_success")
	if err := second.sweep(t.Context()); err != nil || len(second.fresh) > 0 {
		t.Errorf("swept %d, error %v, while the lease holds", len(second.fresh), err)
	}
	f.makeDue(t)
	if err := second.sweep(t.Context()); err != nil || len(second.fresh) != 3 {
		t.Errorf("swept %d, error %v, once it has run out", len(second.fresh), err)
	}
	if err := first.sweep(t.Context()); err != nil || len(first.fresh) != 3 { // those of its own, which it offered
		t.Errorf("swept %d, error %v, while the other's lease holds", len(first.fresh), err)
	}
}

// Two replicas ask the provider for the same charges and refunds at once.
func TestTwoCashiersChargeAndRefundOnce(t *testing.T) {
	f := newFixture(t, 100*time.Millisecond)
	replicas := []replica{f.replica(t).withCashier(t), f.replica(t).withCashier(t)}
	var ids []uuid.UUID
	for i, token := range []string{"tok_success", "tok_slow", "tok_lost_reply", "tok_lost_reply_refund"} {
		ids = append(ids, reserveMany(t, replicas[i%2], 5, token)...)
	}
	f.makeDue(t)
	for i, id := range ids {
		replicas[i%2].deliver(t, orderCancelled(id))
		f.makeDue(t)
	}
	for _, id := range ids {
		f.await(t, id, Refunded)
		f.expect(t, id, bothEvents, givenBack)
	}
}

// While the provider takes its time, no transaction waits for it.
func TestNoTransactionWaitsForTheProvider(t *testing.T) {
	f := newFixture(t, 5*time.Second)
	f.psp.mode("slow")
	r := f.replica(t).withCashier(t)
	ids := reserveMany(t, r, 10, "tok_success")
	servicetest.Await(t, "all are charged", func() bool {
		var waiting []string
		err := f.kit.Pool.QueryRow(t.Context(), `
			select array_agg(query) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
			  and xact_start < now() - interval '4 s'`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) > 0 {
			t.Fatalf("open transactions: %s", strings.Join(waiting, "; "))
		}
		return f.payment(t, ids[0]).Status == Completed
	})
	for _, id := range ids {
		f.await(t, id, Completed)
	}
}

// A call slot is for the call: while answers wait to be recorded, others are asked.
func TestRecordingHoldsNoCallSlot(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t)
	r.recordTimeout = time.Hour       // none gives up being recorded
	servicetest.Run(t, r.cashier.run) // and nobody records yet
	var ids []uuid.UUID
	var batch []inbox.Message
	for range callSlots + 40 {
		ids = append(ids, uuid.New())
		batch = append(batch, servicetest.Message(t, inventoryReserved(ids[len(ids)-1], "tok_success"), epoch))
	}
	r.Deliver(batch...)
	servicetest.Await(t, "all are charged", func() bool {
		return !slices.ContainsFunc(ids, func(id uuid.UUID) bool { return f.psp.money(id).charges == 0 })
	})
	servicetest.Run(t, r.outcomes.Run)
	for _, id := range ids {
		f.await(t, id, Completed)
		f.expect(t, id, paidEvent, charged)
	}
}
