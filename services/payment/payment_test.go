package main

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

var declined = events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}

// step is something that happens to a payment.
type step struct {
	name string
	do   func(*Payment) events.Event
}

var (
	requested = step{"requested", func(p *Payment) events.Event {
		p.Request(inventoryReserved(p.ID, "tok_success"), "", epoch)
		return nil
	}}
	cancelled = step{"cancelled", func(p *Payment) events.Event { p.Cancel(epoch); return nil }}
	wasPaid   = step{"charged", func(p *Payment) events.Event { return p.Charged("ch_1", epoch) }}
	refused   = step{"declined", func(p *Payment) events.Event { return p.Declined(declined, epoch) }}
	returned  = step{"returned", func(p *Payment) events.Event { return p.Returned("re_1", epoch) }}
	postponed = step{"postponed", func(p *Payment) events.Event { p.Postpone("lost", epoch); return nil }}
)

// The way to each status, and where each step leads from there. What is not
// listed leads nowhere and announces nothing.
var transitions = []struct {
	status Status
	way    []step
	leads  map[string]Status
	tells  map[string]string
}{
	{Unknown, nil,
		map[string]Status{"requested": Charging}, nil},
	{Unknown, []step{cancelled},
		map[string]Status{"requested": Void}, nil},
	{Void, []step{cancelled, requested}, nil, nil},
	{Charging, []step{requested},
		map[string]Status{"charged": Completed, "declined": Failed},
		map[string]string{"charged": events.TypePaymentCompleted, "declined": events.TypePaymentFailed}},
	{Charging, []step{requested, cancelled},
		map[string]Status{"charged": Refunding, "declined": Failed},
		map[string]string{"charged": events.TypePaymentCompleted, "declined": events.TypePaymentFailed}},
	{Failed, []step{requested, refused}, nil, nil},
	{Completed, []step{requested, wasPaid},
		map[string]Status{"cancelled": Refunding}, nil},
	{Refunding, []step{requested, wasPaid, cancelled},
		map[string]Status{"returned": Refunded}, map[string]string{"returned": events.TypePaymentRefunded}},
	{Refunded, []step{requested, wasPaid, cancelled, returned}, nil, nil},
}

func TestTransitions(t *testing.T) {
	for _, from := range transitions {
		for _, next := range []step{requested, cancelled, wasPaid, refused, returned, postponed} {
			p := NewPayment(uuid.New())
			for _, s := range from.way {
				s.do(p)
			}
			if p.Status != from.status {
				t.Fatalf("way leads to %s, want %s", p.Status, from.status)
			}
			told := next.do(p)
			want, ok := from.leads[next.name]
			if !ok {
				want = from.status
			}
			if p.Status != want {
				t.Errorf("%s, %s: %s, want %s", from.status, next.name, p.Status, want)
			}
			var news string
			if told != nil {
				news = told.Type()
			}
			if news != from.tells[next.name] {
				t.Errorf("%s, %s: announces %q, want %q", from.status, next.name, news, from.tells[next.name])
			}
			if intends := p.Status == Charging || p.Status == Refunding; intends != (p.DueAt != nil) {
				t.Errorf("%s, %s: due at %v", from.status, next.name, p.DueAt)
			}
		}
	}
}

func TestAnnouncementsAreWhole(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	subject, total := events.Subject{OrderID: p.ID}, events.Money{Amount: amount, Currency: "GBP"}
	if got, want := wasPaid.do(p), (&events.PaymentCompleted{Subject: subject, ChargeID: "ch_1", Amount: total}); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	cancelled.do(p)
	if got, want := returned.do(p), (&events.PaymentRefunded{Subject: subject, RefundID: "re_1", Amount: total}); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
}

func TestPostponeBacksOff(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	for attempt, millis := range []int64{200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000} {
		p.Postpone("lost", epoch)
		pause := time.Duration(millis) * time.Millisecond
		if wait := p.DueAt.Sub(epoch); wait < pause/2 || wait > pause*3/2 {
			t.Errorf("attempt %d: waits %s, want %s give or take half", attempt, wait, pause)
		}
	}
	wasPaid.do(p)
	cancelled.do(p)
	if p.Attempts != 0 || p.LastError != "" {
		t.Errorf("a new intention begins with %d attempts, error %q", p.Attempts, p.LastError)
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		status int
		answer string
		final  string // the reason's code, or "" for trouble
	}{
		{http.StatusPaymentRequired, `{"error":{"code":"card_declined"}}`, events.ReasonPaymentDeclined},
		{http.StatusPaymentRequired, `{"error":{"code":"insufficient_funds"}}`, events.ReasonInsufficientFunds},
		{http.StatusPaymentRequired, `not JSON`, events.ReasonPaymentDeclined},
		{http.StatusBadRequest, `{"error":{"param":"source"}}`, events.ReasonPaymentInvalid},
		{http.StatusBadRequest, `{"error":{"param":"amount"}}`, events.ReasonPaymentInvalid},
		{http.StatusBadRequest, `{"error":{"code":"idempotency_error"}}`, ""},
		{http.StatusUnauthorized, `{"error":{"code":"api_key_invalid"}}`, ""},
		{http.StatusConflict, `{"error":{"code":"idempotency_in_flight"}}`, ""},
		{http.StatusTooManyRequests, `{}`, ""},
		{http.StatusInternalServerError, `{"error":{"param":"source"}}`, ""},
		{http.StatusServiceUnavailable, ``, ""},
		{http.StatusNoContent, ``, ""},
	} {
		err := refusal(c.status, []byte(c.answer))
		var final string
		if d, ok := errors.AsType[*declinedError](err); ok {
			final = d.Reason.Code
		}
		if err == nil || final != c.final {
			t.Errorf("%d %s: %v, want %q", c.status, c.answer, err, c.final)
		}
	}
}
