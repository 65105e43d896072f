package cart

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/cart/audit"
)

func created(id uuid.UUID, cart string, lines ...Line) *checkout.OrderCreatedV2 {
	e := &checkout.OrderCreatedV2{
		OfOrder: events.OfOrder{OrderID: id}, CustomerID: "c1", PaymentToken: "tok_success", QuoteID: id, CartID: cart,
		Total: events.Money{Currency: "GBP"},
	}
	for _, l := range lines {
		e.Lines = append(e.Lines, events.Line{SKU: l.SKU, Quantity: l.Quantity, UnitPrice: 100})
		e.Total.Amount += 100 * l.Quantity
	}
	return e
}

func confirmed(id uuid.UUID) *order.Confirmed {
	return &order.Confirmed{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "c1", Total: events.Money{Amount: 100, Currency: "GBP"}}
}

func cancelled(id uuid.UUID) *order.Cancelled {
	return &order.Cancelled{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "c1",
		Reason: events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
}

// A cart is marked while it is being ordered, and not emptied before its order is confirmed.
// What is added meanwhile stays. One that was cancelled is as it was, and can be ordered
// again.
func TestACartIsOrdered(t *testing.T) {
	f := newFixture(t)
	in, s := servicetest.RunInbox(t, f.kit, handle), f.customer(t, f.serve(t), "c1")
	show := func() view { return decoded[view](t, s.do(http.MethodGet, "", ""), http.StatusOK) }
	for _, c := range []struct {
		end  func(uuid.UUID) events.Event
		left map[string]int64
	}{
		{func(id uuid.UUID) events.Event { return cancelled(id) }, map[string]int64{"a": 5, "b": 1, "c": 4}},
		{func(id uuid.UUID) events.Event { return confirmed(id) }, map[string]int64{"a": 3, "c": 4}},
	} {
		for sku, n := range map[string]string{"a": "2", "b": "1", "c": "0"} {
			s.put(sku, n)
		}
		id := uuid.New()
		in.Deliver(servicetest.Message(t, created(id, s.id, Line{SKU: "a", Quantity: 2}, Line{SKU: "b", Quantity: 1}), epoch))
		for range 2 { // adding goes on meanwhile
			s.put("a", "5")
			s.put("c", "4")
		}
		v := show()
		if len(v.Orders) != 1 || v.Orders[0].OrderID != id {
			t.Errorf("while it is ordered the cart shows the orders %v", v.Orders)
		}
		for _, l := range v.Lines {
			if want := map[string]int64{"a": 2, "b": 1}[l.SKU]; l.Ordering != want {
				t.Errorf("%d of %s are being ordered, want %d", l.Ordering, l.SKU, want)
			}
		}
		in.Deliver(servicetest.Message(t, c.end(id), epoch))
		if v := show(); len(v.Orders) > 0 {
			t.Errorf("its orders are %v after they ended", v.Orders)
		}
		if got := s.lines(); !maps.Equal(got, c.left) {
			t.Errorf("left in the cart are %v, want %v", got, c.left)
		}
		if rules := servicetest.CheckBooks(t, f.kit.Pool, audit.Books, id, "cart is being ordered"); len(rules) != 2 {
			t.Errorf("auditors see the rules %q, want two", rules)
		}
	}
}

// Whatever is heard first, and however often.
func TestEverySequenceOfAnOrder(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, handle), f.serve(t)
	ordered := Line{SKU: "a", Quantity: 2}
	for name, end := range map[string]func(uuid.UUID) events.Event{
		"confirmed": func(id uuid.UUID) events.Event { return confirmed(id) },
		"cancelled": func(id uuid.UUID) events.Event { return cancelled(id) },
	} {
		for sequence := range servicetest.Redelivered(2) {
			s, id := f.guest(t, api), uuid.New()
			s.put("a", "3")
			tell := []inbox.Message{
				servicetest.Message(t, created(id, s.id, ordered), epoch), servicetest.Message(t, end(id), epoch),
			}
			for _, n := range sequence {
				in.Deliver(tell[n])
			}
			want := map[string]int64{"a": 3}
			if name == "confirmed" {
				want["a"] = 1
			}
			if got := s.lines(); !maps.Equal(got, want) {
				t.Errorf("%s, sequence %v: %v are left, want %v", name, slices.Clone(sequence), got, want)
			}
		}
	}
}

// One batch may have several orders of one cart, and orders of none.
func TestOrdersInOneBatch(t *testing.T) {
	f := newFixture(t)
	in, s := servicetest.RunInbox(t, f.kit, handle), f.customer(t, f.serve(t), "c1")
	s.put("a", "9")
	first, second, none, gone := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	var batch []inbox.Message
	for _, e := range []events.Event{
		created(first, s.id, Line{SKU: "a", Quantity: 2}), confirmed(none), confirmed(second), created(none, "", Line{SKU: "a", Quantity: 1}),
		created(second, s.id, Line{SKU: "a", Quantity: 3}), confirmed(first), created(gone, uuid.NewString(), Line{SKU: "a", Quantity: 1}), confirmed(gone),
	} {
		batch = append(batch, servicetest.Message(t, e, epoch))
	}
	in.Deliver(batch...)
	if got := s.lines(); got["a"] != 4 {
		t.Errorf("%d are left, want 4", got["a"])
	}
}

// A guest signs in after the cart was ordered: what is being ordered is neither merged nor
// lost, and what was bought does not come back.
func TestMergeAfterAnOrder(t *testing.T) {
	f := newFixture(t)
	in, api := servicetest.RunInbox(t, f.kit, handle), f.serve(t)
	guest, customer := f.guest(t, api), f.customer(t, api, "c1")
	guest.put("a", "3")
	guest.put("b", "1")
	bought, lost := uuid.New(), uuid.New()
	in.Deliver(servicetest.Message(t, created(bought, guest.id, Line{SKU: "a", Quantity: 1}), epoch))
	in.Deliver(servicetest.Message(t, created(lost, guest.id, Line{SKU: "b", Quantity: 1}), epoch))
	if m := decoded[merged](t, customer.merge(guest), http.StatusOK); m.Left != 2 {
		t.Errorf("%d lines are left in the guest's cart, want the 2 that are being ordered", m.Left)
	}
	if got := customer.lines(); !maps.Equal(got, map[string]int64{"a": 2}) {
		t.Errorf("merged to %v", got)
	}
	in.Deliver(servicetest.Message(t, confirmed(bought), epoch), servicetest.Message(t, cancelled(lost), epoch))
	if m := decoded[merged](t, customer.merge(guest), http.StatusOK); m.Left != 0 {
		t.Errorf("%d lines are left in the guest's cart", m.Left)
	}
	if got := customer.lines(); !maps.Equal(got, map[string]int64{"a": 2, "b": 1}) {
		t.Errorf("merged to %v", got)
	}
}

// A cart that is being ordered is not abandoned, nor is a guest's deleted.
func TestACartBeingOrderedIsKept(t *testing.T) {
	f := newFixture(t)
	in, s := servicetest.RunInbox(t, f.kit, handle), f.guest(t, f.serve(t))
	s.put("a", "1")
	id := uuid.New()
	in.Deliver(servicetest.Message(t, created(id, s.id, Line{SKU: "a", Quantity: 1}), time.Now()))
	f.age(t, "5 days")
	f.sweep(t)
	if told := f.abandoned(t, s); len(told) > 0 || len(s.lines()) != 1 {
		t.Errorf("said of it was %v, it has %v", told, s.lines())
	}
	in.Deliver(servicetest.Message(t, cancelled(id), time.Now()))
	f.sweep(t)
	if told := f.abandoned(t, s); len(told) != 1 {
		t.Errorf("once its order is cancelled, said of it was %v", told)
	}
}
