package payment

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
)

// bank is a model of the provider: what it did by idempotency key, which for one
// order and one kind of call is the kind.
type bank struct {
	declines        bool // the card
	refuses         bool // requests to charge, as long as nothing is mended
	charged, repaid int
	answered        bool // a charge, one way or the other
	prevented       bool
	returned        bool
}

// answer is what the provider says to a request to charge, or to prevent one.
type answer string

const (
	yes     answer = "charged"
	no      answer = "declined"
	never   answer = "prevented"
	refuses answer = "refused"
)

func (b *bank) charge() answer {
	switch {
	case b.prevented:
		return never
	case !b.answered && b.refuses:
		return refuses
	case !b.answered && !b.declines:
		b.charged++
	}
	b.answered = true
	return b.word()
}

func (b *bank) prevent() answer {
	if !b.answered {
		b.prevented = true
		return never
	}
	return b.word()
}

func (b *bank) word() answer {
	if b.declines {
		return no
	}
	return yes
}

func (b *bank) refund() {
	if !b.returned {
		b.repaid++
	}
	b.returned = true
}

// call is a request on its way: it may leave, be carried out, and be answered, or
// not, each at any time.
type call struct {
	attempt attempt
	status  Status
	done    func() events.Event // how to record the answer; nil before it is carried out
}

// machine lets events, requests, answers, lost answers and late repetitions of all
// happen to one payment in any sequence.
type machine struct {
	p    *Payment
	bank bank
	told []string
	now  time.Time

	held  []*call // taken up, and not sent yet
	sent  []*call // on their way to the provider
	ended []*call // answered; somebody still has to record it

	asked, requested, cancelled bool // asked: a request to charge left
}

func (m *machine) tell(e events.Event) {
	if e != nil {
		m.told = append(m.told, e.Type())
	}
}

func (m *machine) Request(*rapid.T) {
	m.requested = true
	m.p.Request(inventoryReserved(m.p.ID, "tok"), "", m.now)
}

func (m *machine) Cancel(t *rapid.T) {
	m.cancelled = true
	if m.p.Cancel(m.now); m.p.Status == Void && m.asked && !m.bank.prevented {
		t.Fatal("void, though the provider may still charge")
	}
}

func (m *machine) Resume(*rapid.T) { m.p.Resume(m.now) }

// Mend ends what makes the provider refuse.
func (m *machine) Mend(*rapid.T) { m.bank.refuses = false }

// TakeUp is what the handler or a sweep does; leases may run out at any time.
func (m *machine) TakeUp(t *rapid.T) {
	if m.p.DueAt == nil {
		t.Skip("nothing to do")
	}
	m.now = m.now.Add(time.Hour)
	m.p.TakeUp(m.now)
	m.held = append(m.held, &call{attempt: m.p.attempt(), status: m.p.Status})
}

// Crash forgets what somebody has taken up.
func (m *machine) Crash(t *rapid.T) { remove(t, &m.held) }

// HoldBack is what the breaker does, or a connection that cannot be made.
func (m *machine) HoldBack(t *rapid.T) {
	c := remove(t, &m.held)
	m.p.Unsent(c.attempt, rapid.Bool().Draw(t, "tried"), "away", m.now)
}

func (m *machine) Send(t *rapid.T) {
	c := remove(t, &m.held)
	m.asked = m.asked || c.status == Charging && !c.attempt.settling
	m.sent = append(m.sent, c)
}

// Lose has the caller give up on a request, which may still arrive.
func (m *machine) Lose(t *rapid.T) {
	if len(m.sent) == 0 {
		t.Skip("nothing is on its way")
	}
	c := rapid.SampledFrom(m.sent).Draw(t, "lost")
	m.p.Postpone(c.attempt, "lost", 0, m.now)
}

// Arrive has the provider carry out a request, however old it is.
func (m *machine) Arrive(t *rapid.T) {
	c := remove(t, &m.sent)
	c.done = m.carryOut(c)
	m.ended = append(m.ended, c)
}

func (m *machine) carryOut(c *call) func() events.Event {
	if c.status == Refunding {
		m.bank.refund()
		return func() events.Event { return m.p.Returned("re_1", m.now) }
	}
	said := m.bank.charge
	if c.attempt.settling {
		said = m.bank.prevent
	}
	switch said() {
	case yes:
		return func() events.Event { return m.p.Charged("ch_1", m.now) }
	case no:
		return func() events.Event { return m.p.Declined(declined, m.now) }
	case never:
		return func() events.Event { m.p.NotCharged(m.now); return nil }
	default:
		return func() events.Event { m.p.Refuse(c.attempt, "refused", m.now); return nil }
	}
}

// Record may happen late, and more than once.
func (m *machine) Record(t *rapid.T) {
	if len(m.ended) == 0 {
		t.Skip("nothing is answered")
	}
	m.tell(rapid.SampledFrom(m.ended).Draw(t, "answer").done())
}

func remove(t *rapid.T, from *[]*call) *call {
	if len(*from) == 0 {
		t.Skip("none")
	}
	n := rapid.IntRange(0, len(*from)-1).Draw(t, "call")
	c := (*from)[n]
	*from = slices.Delete(*from, n, n+1)
	return c
}

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
	case count(payment.TypeCompleted) > 1 || count(payment.TypeFailed) > 1 || count(payment.TypeRefunded) > 1:
		t.Fatalf("announced %v", m.told)
	case m.bank.charged > 0 && !m.requested:
		t.Fatal("charged without a request")
	case m.bank.repaid > 0 && !m.cancelled:
		t.Fatal("refunded without a cancellation")
	}
}

// Settle carries out what is intended, as the cashier goes on doing, and checks
// where that ends, also when what is still on its way arrives afterwards.
func (m *machine) Settle(t *rapid.T) {
	for m.p.DueAt != nil {
		m.now = m.now.Add(time.Hour)
		m.p.TakeUp(m.now)
		m.tell(m.carryOut(&call{attempt: m.p.attempt(), status: m.p.Status})())
	}
	for _, c := range m.sent {
		m.tell(m.carryOut(c)())
	}
	for m.p.DueAt != nil { // what arrived late has to be given back
		m.p.TakeUp(m.now)
		m.tell(m.carryOut(&call{attempt: m.p.attempt(), status: m.p.Status})())
	}
	m.Check(t)
	allowed := map[bool][]Status{true: {Unknown, Void, Failed, Refunded}, false: {Unknown, Completed, Failed, Refused}}[m.cancelled]
	if !slices.Contains(allowed, m.p.Status) || m.requested && m.p.Status == Unknown {
		t.Fatalf("ends %s; requested %v, cancelled %v", m.p.Status, m.requested, m.cancelled)
	}
	want := map[Status][]string{
		Completed: {payment.TypeCompleted}, Failed: {payment.TypeFailed},
		Refunded: {payment.TypeCompleted, payment.TypeRefunded},
	}[m.p.Status]
	if !slices.Equal(m.told, want) {
		t.Fatalf("ends %s, announced %v, want %v", m.p.Status, m.told, want)
	}
	if kept := m.bank.charged - m.bank.repaid; (kept == 1) != (m.p.Status == Completed) {
		t.Fatalf("ends %s, bank: %+v", m.p.Status, m.bank)
	}
	if m.p.Status == Void && m.bank.charged > 0 {
		t.Fatalf("void, bank: %+v", m.bank)
	}
	if m.p.Token != "" && m.p.Status != Refused {
		t.Fatalf("%s keeps the token", m.p.Status)
	}
}

func TestMoneyAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{p: NewPayment(uuid.New()), now: epoch, bank: bank{
			declines: rapid.Bool().Draw(t, "declines"), refuses: rapid.Bool().Draw(t, "refuses"),
		}}
		t.Repeat(map[string]func(*rapid.T){
			"": m.Check, "request": m.Request, "cancel": m.Cancel, "resume": m.Resume, "mend": m.Mend,
			"take up": m.TakeUp, "crash": m.Crash, "hold back": m.HoldBack,
			"send": m.Send, "lose": m.Lose, "arrive": m.Arrive, "record": m.Record,
		})
		m.Settle(t)
	})
}
