package order

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/servicetest"
)

// The facts that an order is decided upon.
const (
	placed = 1 << iota
	reserved
	paid
	objected
)

// verdicts tells, for each set of facts, what an order is that knows just them.
var verdicts = map[int]Status{
	0:                                   Pending,
	placed:                              Pending,
	reserved:                            Pending,
	placed | reserved:                   Pending,
	paid:                                Pending,
	placed | paid:                       Pending,
	reserved | paid:                     Pending,
	placed | reserved | paid:            Confirmed,
	objected:                            Pending,
	placed | objected:                   Cancelled,
	reserved | objected:                 Pending,
	placed | reserved | objected:        Cancelled,
	paid | objected:                     Pending,
	placed | paid | objected:            Cancelled,
	reserved | paid | objected:          Pending,
	placed | reserved | paid | objected: Cancelled,
}

// tells maps event types to the fact they tell; the others tell none that counts.
var tells = map[string]int{
	checkout.TypeOrderCreated:        placed,
	inventory.TypeReserved:           reserved,
	payment.TypeCompleted:            paid,
	inventory.TypeReservationFailed:  objected,
	inventory.TypeReservationExpired: objected,
	payment.TypeFailed:               objected,
	inventory.TypeReleased:           0,
	payment.TypeRefunded:             0,
}

var announces = map[Status]string{Confirmed: order.TypeConfirmed, Cancelled: order.TypeCancelled}

// knowing returns an order that has heard of facts and has been decided upon.
func knowing(facts int) *Order {
	o := NewOrder(uuid.New())
	for _, eventType := range []string{
		checkout.TypeOrderCreated, inventory.TypeReserved, payment.TypeCompleted, inventory.TypeReservationExpired,
	} {
		if facts&tells[eventType] != 0 {
			o.Hear(sample(eventType, o.ID), epoch)
		}
	}
	o.Decide(epoch)
	return o
}

func TestEveryEventOnEverySetOfFacts(t *testing.T) {
	for facts, before := range verdicts {
		for eventType, fact := range tells {
			o := knowing(facts)
			if o.Status != before {
				t.Fatalf("facts %04b: %s, want %s", facts, o.Status, before)
			}
			o.Hear(sample(eventType, o.ID), happenedAt(1))
			announced := o.Decide(happenedAt(2))

			want := verdicts[facts|fact]
			if before != Pending {
				want = before // what is decided holds
			}
			if o.Status != want {
				t.Errorf("facts %04b, then %s: %s, want %s", facts, eventType, o.Status, want)
			}
			var news string
			if announced != nil {
				news = announced.Type()
			}
			if before == Pending && news != announces[want] || before != Pending && news != "" {
				t.Errorf("facts %04b, then %s: announces %q", facts, eventType, news)
			}
		}
	}
}

func TestAnnouncementsAreWhole(t *testing.T) {
	id := uuid.New()
	o := NewOrder(id)
	for _, eventType := range []string{inventory.TypeReserved, payment.TypeCompleted, checkout.TypeOrderCreated} {
		o.Hear(sample(eventType, id), epoch)
	}
	want := &order.Confirmed{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", Total: total}
	if got := o.Decide(epoch); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}

	o = NewOrder(id)
	for _, eventType := range []string{payment.TypeFailed, inventory.TypeReservationExpired, checkout.TypeOrderCreated} {
		o.Hear(sample(eventType, id), epoch)
	}
	reason := events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}
	wanted := &order.Cancelled{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", Reason: reason}
	if got := o.Decide(epoch); !reflect.DeepEqual(got, wanted) {
		t.Errorf("announced %+v, want the first reason heard: %+v", got, wanted)
	}
}

// An order by quote costs what its parts come to, and is decided on as any other.
func TestAnOrderByQuote(t *testing.T) {
	id := uuid.New()
	created := &checkout.OrderCreatedV2{
		OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", PaymentToken: "tok_success", QuoteID: id,
		Lines:  []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}},
		Extras: events.Extras{Adjustments: []events.Adjustment{{Name: "SPRING10", Amount: -153, Line: 1}}, Shipping: 499, Tax: 375},
		Total:  events.Money{Amount: 2251, Currency: "GBP"},
	}
	o := NewOrder(id)
	for n, e := range []events.Event{sample(inventory.TypeReserved, id), sample(payment.TypeCompleted, id), created, created} {
		o.Hear(e, happenedAt(n))
	}
	want := &order.Confirmed{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", Total: created.Total}
	if got := o.Decide(epoch); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	if v := viewOf(o); v.Total != created.Total || v.Shipping != 499 || v.Tax != 375 || !slices.Equal(v.Adjustments, created.Adjustments) {
		t.Errorf("it is shown as %+v", v)
	}
}

func TestAskCancel(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   int
		refused string
		outcome string
	}{
		{"of a pending order", placed, "", events.ReasonCustomerRequest},
		{"of a reserved order", placed | reserved, "", events.ReasonCustomerRequest},
		{"of a paid order whose stock is not heard of", placed | paid, "", events.ReasonCustomerRequest},
		{"of a confirmed order", placed | reserved | paid, "order_confirmed", confirmed},
		{"of a cancelled order", placed | objected, "", events.ReasonReservationExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := knowing(c.facts)
			settled := o.Status != Pending
			err := o.AskCancel(happenedAt(1))
			announced := o.Decide(happenedAt(1))
			if f, _ := errors.AsType[*fault.Fault](err); c.refused != "" && (f == nil || f.Code != c.refused) || c.refused == "" && err != nil {
				t.Errorf("error %v, want %q", err, c.refused)
			}
			if got := outcomeOf(o); got != c.outcome {
				t.Errorf("outcome %q, want %q", got, c.outcome)
			}
			if (announced != nil) == settled {
				t.Errorf("announced %v of an order that was settled: %v", announced, settled)
			}
		})
	}
}

func TestWaitsFor(t *testing.T) {
	for facts, want := range map[int]string{
		0: "checkout", reserved: "checkout", placed: "inventory", placed | paid: "inventory",
		placed | reserved: "payment", placed | reserved | paid: "", placed | objected: "",
	} {
		if got := knowing(facts).WaitsFor(); got != want {
			t.Errorf("facts %04b: waits for %q, want %q", facts, got, want)
		}
	}
}

// Every sequence of a story's events, with and without each of them repeated.
func TestEverySequence(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			ends := make(map[string]*Order)
			for p := range servicetest.Permutations(len(s.types)) {
				s.check(t, p, ends)
			}
			for p := range servicetest.Redelivered(len(s.types)) {
				s.check(t, p, ends)
			}
			if len(ends) != len(s.outcomes) {
				t.Errorf("%d of the outcomes %v came about", len(ends), s.outcomes)
			}
		})
	}
}

// check lets an order live through a story in a sequence. Orders with the same
// outcome must be the same in all else.
func (s story) check(t *testing.T, sequence []int, ends map[string]*Order) {
	t.Helper()
	o, announced := s.live(sequence)
	outcome := outcomeOf(o)
	if !slices.Contains(s.outcomes, outcome) {
		t.Fatalf("sequence %v: %q, want one of %v", sequence, outcome, s.outcomes)
	}
	if want := announces[o.Status]; len(announced) != 1 || announced[0].Type() != want {
		t.Fatalf("sequence %v: announced %v, want %s once", sequence, servicetest.Types(announced), want)
	}
	if first := ends[outcome]; first == nil {
		ends[outcome] = o
	} else if !reflect.DeepEqual(o, first) {
		t.Fatalf("sequence %v: ends as %+v, another with the same outcome as %+v", sequence, o, first)
	}
}

// live gives an order the events of a story. A customer who asks too early finds
// no order, and asks again later.
func (s story) live(sequence []int) (o *Order, announced []events.Event) {
	o = NewOrder(uuid.Nil)
	repeated := make(map[int]time.Duration)
	hear := func(n int) {
		at := happenedAt(n).Add(repeated[n])
		repeated[n] = time.Hour // a fact is as old as when it was first heard of
		if s.types[n] == customerAsks {
			_ = o.AskCancel(at) // refused when it is confirmed; TestAskCancel
		} else {
			o.Hear(sample(s.types[n], o.ID), at)
		}
		if e := o.Decide(epoch); e != nil {
			announced = append(announced, e)
		}
	}
	var early []int
	for _, n := range sequence {
		if s.types[n] == customerAsks && o.PlacedAt == nil {
			early = append(early, n)
			continue
		}
		hear(n)
	}
	for _, n := range early {
		hear(n)
	}
	return o, announced
}
