package price

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/price/pricing"
)

// 200 buyers, each with a quote of their own, want a voucher for 50: exactly 50 have it.
// After 10 of their orders are cancelled exactly 10 more have it.
func TestTwoHundredBuyersForFiftyUses(t *testing.T) {
	const buyers, most, given = 200, 50, 10
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/FIFTY", tenOff, most)
	tokens := make([]string, buyers)
	for i := range tokens {
		_, tokens[i] = f.quote(1, "FIFTY")
	}
	have := make([]uuid.UUID, 0, buyers)
	var mu sync.Mutex
	rush := func() (n int) {
		var all sync.WaitGroup
		var got atomic.Int64
		for _, token := range tokens {
			all.Go(func() {
				id := uuid.New()
				answer := f.commit(token, id)
				switch {
				case answer.GetOutcome() == committedOutcome:
					got.Add(1)
					mu.Lock()
					have = append(have, id)
					mu.Unlock()
				case answer.GetOutcome() == quoteUsed:
				case answer.GetOutcome() != refusedOutcome || answer.GetRefusal().GetCode() != pricing.VoucherUsedUp:
					t.Errorf("answered %v", answer)
				}
			})
		}
		all.Wait()
		return int(got.Load())
	}
	if n := rush(); n != most {
		t.Errorf("%d buyers have the voucher, want %d", n, most)
	}
	f.wantUses("FIFTY", most, 0)
	in := servicetest.RunInbox(t, f.kit, handle)
	settled := []inbox.Message{}
	for i, id := range have {
		e := confirmed(id)
		if i < given {
			e = cancelled(id)
		}
		settled = append(settled, servicetest.Message(t, e, time.Now()))
	}
	in.Deliver(settled...)
	in.Deliver(settled...) // delivered twice
	f.wantUses("FIFTY", 0, most-given)
	if n := rush(); n != given {
		t.Errorf("after %d cancellations %d more have the voucher", given, n)
	}
	f.wantUses("FIFTY", given, most-given)
	f.checkBooks()
}

// The database keeps the uses within their number, also from statements that do not ask.
func TestTheDatabaseKeepsUsesWithinTheirNumber(t *testing.T) {
	f := newFixture(t)
	f.put("/v1/vouchers/ONE", tenOff, 1)
	servicetest.Exec(t, f.kit.Pool, `update vouchers set held = 1`)
	for _, sql := range []string{
		`update vouchers set redeemed = redeemed + 1`, `update vouchers set max_uses = 0`, `update vouchers set held = -1`, `update vouchers set held = 2`,
	} {
		if _, err := f.kit.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s was taken", sql)
		}
	}
}

// Whatever is sent again, an order has its voucher once, and one order of a quote has it.
func TestAnOrderHasItsVoucherOnce(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/LAST", tenOff, 1)
	_, token := f.quote(1, "LAST")
	id := uuid.New()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { f.wantOutcome(f.commit(token, id), committedOutcome) })
	}
	all.Wait()
	f.wantUses("LAST", 1, 0)

	f.put("/v1/vouchers/LAST", tenOff, 2)
	if answer := f.commit(token, uuid.New()); answer.GetOutcome() != quoteUsed || answer.GetOrderId() != id.String() {
		t.Errorf("another order of the quote: %v", answer)
	}
	in := servicetest.RunInbox(t, f.kit, handle)
	in.Deliver(servicetest.Message(t, confirmed(id), time.Now()))
	f.wantUses("LAST", 0, 1)
	f.wantOutcome(f.commit(token, id), committedOutcome) // a request that was late
	f.wantUses("LAST", 0, 1)
	f.checkBooks()
}

// A cancelled order never gets its voucher back, and Release gives it back once.
func TestWhatIsGivenBack(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/TEN", tenOff, 10)
	in := servicetest.RunInbox(t, f.kit, handle)
	release := func(id uuid.UUID) error {
		_, err := f.app.prices.Release(context.Background(), &pricev1.ReleaseRequest{OrderId: id.String()})
		return err
	}
	_, first := f.quote(1, "TEN")
	gone := uuid.New()
	f.wantOutcome(f.commit(first, gone), committedOutcome)
	in.Deliver(servicetest.Message(t, cancelled(gone), time.Now()))
	f.wantUses("TEN", 0, 0)
	f.wantOutcome(f.commit(first, gone), orderCancelled)
	f.wantUses("TEN", 0, 0)

	_, second := f.quote(1, "TEN")
	back := uuid.New()
	f.wantOutcome(f.commit(second, back), committedOutcome)
	for range 2 {
		if err := release(back); err != nil {
			t.Error(err)
		}
		f.wantUses("TEN", 0, 0)
	}
	f.wantOutcome(f.commit(second, back), committedOutcome) // it is placed after all
	f.wantUses("TEN", 1, 0)
	in.Deliver(servicetest.Message(t, confirmed(back), time.Now()))
	if err := release(back); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("released what is redeemed: %v", err)
	}
	if err := release(uuid.New()); err != nil {
		t.Errorf("release of an order that holds nothing: %v", err)
	}
	f.wantUses("TEN", 0, 1)
	f.checkBooks()
}

// A code is never skipped in silence.
func TestVouchersThatGiveNothingAreRefused(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/ONE", tenOff, 1)
	f.put("/v1/vouchers/LATER", `{"kind": "order_amount", "amount": 100, "currency": "GBP", "max_uses": 1, "valid_from": "2999-01-01"}`)
	f.put("/v1/vouchers/TRADE", `{"kind": "order_amount", "amount": 100, "currency": "GBP", "max_uses": 1, "groups": ["trade"]}`)
	_, token := f.quote(1, "ONE")
	f.wantOutcome(f.commit(token, uuid.New()), committedOutcome)
	for code, want := range map[string]string{
		"NONE": pricing.VoucherUnknown, "ONE": pricing.VoucherUsedUp, "LATER": pricing.VoucherNotNow, "TRADE": pricing.VoucherNotApplicable,
	} {
		answer, err := f.app.prices.Quote(t.Context(), f.request(1, code))
		if err != nil || answer.GetToken() != "" || answer.GetRefusal().GetCode() != want {
			t.Errorf("%s: %v, %v, want %s", code, answer, err, want)
		}
	}
}
