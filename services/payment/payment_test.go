package payment

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
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
	taken = step{"taken up", func(p *Payment) events.Event {
		if p.DueAt != nil {
			p.TakeUp(epoch)
		}
		return nil
	}}
	cancelled = step{"cancelled", func(p *Payment) events.Event { p.Cancel(epoch); return nil }}
	wasPaid   = step{"charged", func(p *Payment) events.Event { return p.Charged("ch_1", epoch) }}
	noFunds   = step{"declined", func(p *Payment) events.Event { return p.Declined(declined, epoch) }}
	returned  = step{"returned", func(p *Payment) events.Event { return p.Returned("re_1", epoch) }}
	postponed = step{"postponed", during(func(p *Payment, a attempt) { p.Postpone(a, "lost", 0, epoch) })}
	unsent    = step{"not sent", during(func(p *Payment, a attempt) { p.Unsent(a, false, "breaker", epoch) })}
	rejected  = step{"refused", during(func(p *Payment, a attempt) { p.Refuse(a, "status 400", epoch) })}
	prevented = step{"prevented", func(p *Payment) events.Event { p.NotCharged(epoch); return nil }}
	resumed   = step{"resumed", func(p *Payment) events.Event { p.Resume(epoch); return nil }}
)

// during is what the attempt that has the lease does.
func during(do func(*Payment, attempt)) func(*Payment) events.Event {
	return func(p *Payment) events.Event {
		if p.DueAt != nil {
			do(p, p.attempt())
		}
		return nil
	}
}

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

	// Not taken up yet, or provably not sent: nothing can have been charged.
	{Charging, []step{requested},
		map[string]Status{"cancelled": Void, "charged": Completed, "declined": Failed, "refused": Refused}, chargeTells},
	{Charging, []step{requested, taken, unsent},
		map[string]Status{"cancelled": Void, "charged": Completed, "declined": Failed, "refused": Refused}, chargeTells},
	{Void, []step{requested, taken, unsent, cancelled}, nil, nil},
	{Void, []step{requested, taken, cancelled, unsent}, nil, nil},

	// Taken up: it may have been sent, and only the provider knows.
	{Charging, []step{requested, taken},
		map[string]Status{"charged": Completed, "declined": Failed, "refused": Refused}, chargeTells},
	{Charging, []step{requested, taken, cancelled},
		map[string]Status{"charged": Refunding, "declined": Failed, "prevented": Void, "not sent": Void, "refused": Refused}, chargeTells},
	{Charging, []step{requested, taken, postponed, cancelled},
		map[string]Status{"charged": Refunding, "declined": Failed, "prevented": Void, "refused": Refused}, chargeTells},
	{Failed, []step{requested, taken, noFunds}, nil, nil},
	{Completed, []step{requested, taken, wasPaid},
		map[string]Status{"cancelled": Refunding}, nil},
	{Refunding, []step{requested, taken, wasPaid, cancelled},
		map[string]Status{"returned": Refunded, "refused": Refused}, refundTells},
	{Refunded, []step{requested, taken, wasPaid, cancelled, returned}, nil, nil},

	// Refused: an operator resumes it, or the order's cancellation has it settled.
	{Refused, []step{requested, taken, rejected},
		map[string]Status{"resumed": Charging, "cancelled": Charging, "charged": Completed, "declined": Failed}, chargeTells},
	{Refused, []step{requested, taken, wasPaid, cancelled, taken, rejected},
		map[string]Status{"resumed": Refunding, "returned": Refunded}, refundTells},
}

var (
	chargeTells = map[string]string{"charged": payment.TypeCompleted, "declined": payment.TypeFailed}
	refundTells = map[string]string{"returned": payment.TypeRefunded}
)

var steps = []step{requested, cancelled, wasPaid, noFunds, returned, postponed, unsent, rejected, prevented, resumed}

func TestTransitions(t *testing.T) {
	for _, from := range transitions {
		for _, next := range steps {
			p := NewPayment(uuid.New())
			var way string
			for _, s := range from.way {
				s.do(p)
				way += s.name + ", "
			}
			if p.Status != from.status {
				t.Fatalf("%s: leads to %s, want %s", way, p.Status, from.status)
			}
			told := next.do(p)
			want, ok := from.leads[next.name]
			if !ok {
				want = from.status
			}
			if p.Status != want {
				t.Errorf("%s%s: %s, want %s", way, next.name, p.Status, want)
			}
			var news string
			if told != nil {
				news = told.Type()
			}
			if news != from.tells[next.name] {
				t.Errorf("%s%s: announces %q, want %q", way, next.name, news, from.tells[next.name])
			}
			checkWhole(t, way+next.name, p)
		}
	}
}

// checkWhole checks what holds in every status.
func checkWhole(t *testing.T, way string, p *Payment) {
	t.Helper()
	if intends := p.Status == Charging || p.Status == Refunding; intends != (p.DueAt != nil) {
		t.Errorf("%s: %s, due at %v", way, p.Status, p.DueAt)
	}
	if ended := slices.Contains([]Status{Failed, Void, Refunded}, p.Status); ended != (p.EndedAt != nil) {
		t.Errorf("%s: %s, ended at %v", way, p.Status, p.EndedAt)
	}
	if chargeable := p.uncharged(); chargeable != (p.Token != "") {
		t.Errorf("%s: %s keeps token %q", way, p.Status, p.Token)
	}
}

// A charge that is refused while its order is cancelled is settled before it ends:
// the attempt knew nothing of the cancellation.
func TestRefusedWhileItIsCancelled(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	taken.do(p)
	a := p.attempt()
	cancelled.do(p)
	p.Refuse(a, "status 400", epoch)
	if p.Status != Charging || !p.attempt().settling {
		t.Errorf("payment is %s", p.Status)
	}
}

// Only the attempt that has the lease says how the intention goes on, and only the
// first one, never sent, takes the mark back.
func TestAnAttemptThatLostItsLease(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	taken.do(p)
	first := p.attempt()
	p.TakeUp(epoch.Add(time.Minute))
	second := p.attempt()
	for name, late := range map[string]func(){
		"not sent":  func() { p.Unsent(first, true, "late", epoch) },
		"postponed": func() { p.Postpone(first, "late", 0, epoch) },
		"refused":   func() { p.Refuse(first, "late", epoch) },
	} {
		before := *p
		if late(); !reflect.DeepEqual(*p, before) {
			t.Errorf("%s by the attempt that lost its lease: %+v, was %+v", name, *p, before)
		}
	}
	if p.Unsent(second, true, "refused connection", epoch); p.SentAt == nil {
		t.Error("the second attempt says for the first that it was not sent")
	}
}

func TestTokenThatIsForgottenCannotBeResumed(t *testing.T) {
	p := NewPayment(uuid.New())
	for _, s := range []step{requested, taken, rejected} {
		s.do(p)
	}
	p.Token = ""
	if p.Resume(epoch) || p.Status != Refused {
		t.Errorf("resumed without a token: %s", p.Status)
	}
	if cancelled.do(p); p.Status != Charging {
		t.Errorf("cancelled, it is %s, want it to be settled", p.Status)
	}
}

func TestAnnouncementsAreWhole(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	subject, total := events.OfOrder{OrderID: p.ID}, events.Money{Amount: amount, Currency: "GBP"}
	if got, want := wasPaid.do(p), (&payment.Completed{OfOrder: subject, ChargeID: "ch_1", Amount: total}); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	cancelled.do(p)
	if got, want := returned.do(p), (&payment.Refunded{OfOrder: subject, RefundID: "re_1", Amount: total}); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
}

func TestPostponeBacksOff(t *testing.T) {
	p := NewPayment(uuid.New())
	requested.do(p)
	for attempt, millis := range []int64{200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000} {
		p.Postpone(p.attempt(), "lost", 0, epoch)
		pause := time.Duration(millis) * time.Millisecond
		if wait := p.DueAt.Sub(epoch); wait < pause/2 || wait > pause*3/2 {
			t.Errorf("attempt %d: waits %s, want %s give or take half", attempt, wait, pause)
		}
	}
	if p.Postpone(p.attempt(), "limited", time.Minute, epoch); p.DueAt.Sub(epoch) < time.Minute {
		t.Errorf("waits %s, though the provider asked for a minute", p.DueAt.Sub(epoch))
	}
	wasPaid.do(p)
	cancelled.do(p)
	if p.Attempts != 0 || p.LastError != "" {
		t.Errorf("a new intention begins with %d attempts, error %q", p.Attempts, p.LastError)
	}
}
