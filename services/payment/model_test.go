package main

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
)

// bank is a model of the provider: what it did by idempotency key, which for one
// order and one kind of call is the kind.
type bank struct {
	declines        bool // the card
	charged, repaid int
	answered        bool // a charge, one way or the other
	returned        bool
}

func (b *bank) charge() (ok bool) {
	if !b.answered && !b.declines {
		b.charged++
	}
	b.answered = true
	return !b.declines
}

func (b *bank) refund() {
	if !b.returned {
		b.repaid++
	}
	b.returned = true
}

// machine lets events, answers, lost answers and late repetitions of both happen
// to one payment in any sequence.
type machine struct {
	p    *Payment
	bank bank
	told []string
	late []func() events.Event // answers that somebody still has to record

	requested, cancelled bool
}

func (m *machine) tell(e events.Event) {
	if e != nil {
		m.told = append(m.told, e.Type())
	}
}

func (m *machine) Request(*rapid.T) {
	m.requested = true
	m.p.Request(inventoryReserved(m.p.ID, "tok"), "", epoch)
}

func (m *machine) Cancel(*rapid.T) {
	m.cancelled = true
	m.p.Cancel(epoch)
}

// ask asks the provider what the payment intends, and returns how to record it.
func (m *machine) ask(t *rapid.T) (record func() events.Event) {
	switch m.p.Status {
	case Charging:
		if m.bank.charge() {
			return func() events.Event { return m.p.Charged("ch_1", epoch) }
		}
		return func() events.Event { return m.p.Declined(declined, epoch) }
	case Refunding:
		m.bank.refund()
		return func() events.Event { return m.p.Returned("re_1", epoch) }
	default:
		t.Skip("nothing to ask")
		return nil
	}
}

func (m *machine) Attempt(t *rapid.T) { m.tell(m.ask(t)()) }

// AttemptSlowly has the answer recorded some steps later.
func (m *machine) AttemptSlowly(t *rapid.T) { m.late = append(m.late, m.ask(t)) }

// AttemptInVain loses the answer.
func (m *machine) AttemptInVain(t *rapid.T) {
	m.ask(t)
	m.p.Postpone("lost", epoch)
}

func (m *machine) RecordLate(t *rapid.T) {
	if len(m.late) == 0 {
		t.Skip("nothing is late")
	}
	m.tell(rapid.SampledFrom(m.late).Draw(t, "late answer")())
}

func (m *machine) PostponeLate(*rapid.T) { m.p.Postpone("another replica's attempt", epoch) }

func (m *machine) Check(t *rapid.T) {
	count := func(eventType string) (n int) {
		for _, told := range m.told {
			if told == eventType {
				n++
			}
		}
		return n
	}
	switch {
	case m.bank.charged > 1 || m.bank.repaid > m.bank.charged:
		t.Fatalf("bank: %+v", m.bank)
	case count(events.TypePaymentCompleted) > 1 || count(events.TypePaymentFailed) > 1 || count(events.TypePaymentRefunded) > 1:
		t.Fatalf("announced %v", m.told)
	case m.bank.charged > 0 && !m.requested:
		t.Fatal("charged without a request")
	case m.bank.repaid > 0 && !m.cancelled:
		t.Fatal("refunded without a cancellation")
	}
}

// Settle carries out what is intended, as the cashier goes on doing, and checks
// where that ends.
func (m *machine) Settle(t *rapid.T) {
	for m.p.DueAt != nil {
		m.Attempt(t)
	}
	m.Check(t)
	allowed := map[bool][]Status{true: {Unknown, Void, Failed, Refunded}, false: {Unknown, Completed, Failed}}[m.cancelled]
	if !slices.Contains(allowed, m.p.Status) || m.requested && m.p.Status == Unknown {
		t.Fatalf("ends %s; requested %v, cancelled %v", m.p.Status, m.requested, m.cancelled)
	}
	want := map[Status][]string{
		Completed: {events.TypePaymentCompleted}, Failed: {events.TypePaymentFailed},
		Refunded: {events.TypePaymentCompleted, events.TypePaymentRefunded},
	}[m.p.Status]
	if !slices.Equal(m.told, want) {
		t.Fatalf("ends %s, announced %v, want %v", m.p.Status, m.told, want)
	}
	if kept := m.bank.charged - m.bank.repaid; (kept == 1) != (m.p.Status == Completed) {
		t.Fatalf("ends %s, bank: %+v", m.p.Status, m.bank)
	}
}

func TestMoneyAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{p: NewPayment(uuid.New()), bank: bank{declines: rapid.Bool().Draw(t, "declines")}}
		t.Repeat(map[string]func(*rapid.T){
			"": m.Check, "request": m.Request, "cancel": m.Cancel,
			"attempt": m.Attempt, "attempt slowly": m.AttemptSlowly, "attempt in vain": m.AttemptInVain,
			"record late": m.RecordLate, "postpone late": m.PostponeLate,
		})
		m.Settle(t)
	})
}
