package checkout

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

func happenedAt(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// A story is what a checkout hears of its order, and how it ends whatever the
// sequence.
type story struct {
	name   string
	hears  []func(events.OfOrder) events.Event
	status Status
	reason string
}

func reservationFailed(s events.OfOrder) events.Event {
	return &inventory.ReservationFailed{OfOrder: s, Reason: events.Reason{Code: events.ReasonOutOfStock, Message: "71053 is out of stock."}}
}

func paymentFailed(s events.OfOrder) events.Event {
	return &payment.Failed{OfOrder: s, Reason: events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
}

func orderConfirmed(s events.OfOrder) events.Event {
	return &order.Confirmed{OfOrder: s, CustomerID: "customer-17850", Total: events.Money{Amount: 1869, Currency: "GBP"}}
}

// cancelledFor is the verdict, whose reason is the one that counts.
func cancelledFor(code string) func(events.OfOrder) events.Event {
	return func(s events.OfOrder) events.Event {
		return &order.Cancelled{OfOrder: s, CustomerID: "customer-17850", Reason: events.Reason{Code: code, Message: "Sorry."}}
	}
}

type heard = []func(events.OfOrder) events.Event

var stories = []story{
	{"confirmed", heard{orderConfirmed}, Confirmed, ""},
	{"out of stock", heard{reservationFailed, cancelledFor(events.ReasonOutOfStock)}, Cancelled, events.ReasonOutOfStock},
	{"declined", heard{paymentFailed, cancelledFor(events.ReasonPaymentDeclined)}, Cancelled, events.ReasonPaymentDeclined},
	{"declined while it expired", heard{paymentFailed, cancelledFor(events.ReasonReservationExpired)}, Cancelled, events.ReasonReservationExpired},
	{"out of stock while the customer cancelled", heard{reservationFailed, cancelledFor(events.ReasonCustomerRequest)}, Cancelled, events.ReasonCustomerRequest},
	{"declined, verdict not heard of yet", heard{paymentFailed}, Cancelled, events.ReasonPaymentDeclined},
}

func TestEverySequence(t *testing.T) {
	f := newFixture(t)
	api := f.replica(t)
	in := servicetest.RunInbox(t, f.kit, handle)
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			var first *Checkout
			for sequence := range servicetest.Redelivered(len(s.hears)) {
				id := place(t, api)
				told := make([]inbox.Message, len(s.hears))
				for n, event := range s.hears {
					told[n] = servicetest.Message(t, event(events.OfOrder{OrderID: id}), happenedAt(n))
				}
				for _, n := range sequence {
					in.Deliver(told[n])
				}
				found, err := checkouts.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
				if err != nil {
					t.Fatal(err)
				}
				c := found[id]
				var reason string
				if c.Reason != nil {
					reason = c.Reason.Code
				}
				if c.Status != s.status || reason != s.reason {
					t.Errorf("sequence %v: %s %q, want %s %q", slices.Clone(sequence), c.Status, reason, s.status, s.reason)
				}
				if first == nil {
					first = c
				}
				if !reflect.DeepEqual(c.Reason, first.Reason) || !c.SettledAt.Equal(*first.SettledAt) {
					t.Errorf("sequence %v: settled %v %v, another sequence %v %v", sequence, c.SettledAt, c.Reason, first.SettledAt, first.Reason)
				}
			}
		})
	}
}

func TestOrdersOfOthersAreIgnored(t *testing.T) {
	f := newFixture(t)
	in := servicetest.RunInbox(t, f.kit, handle)
	for _, s := range stories {
		for n, event := range s.hears {
			in.Deliver(servicetest.Message(t, event(events.OfOrder{OrderID: uuid.New()}), happenedAt(n)))
		}
	}
	f.checkPlaced(t, 0)
}
