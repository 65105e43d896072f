package inventory

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
)

// machine applies random events of many orders to one shelf, and to a model that
// knows nothing of warehouses: what of each SKU is left, and who has what.
type machine struct {
	handler      handler
	now          time.Time
	shelf        Shelf
	reservations map[uuid.UUID]*Reservation

	put    map[string]int64 // units that were put on the shelf
	orders []*modelOrder
}

type modelOrder struct {
	created *checkout.OrderCreated
	status  Status
	early   bool // cancelled before it was heard of
	expired bool
}

// wants is the order's demand.
func (o *modelOrder) wants() map[string]int64 { return demand(o.created.Lines) }

// has sums up what orders of a status have of a SKU.
func (m *machine) has(status Status, sku string) (n int64) {
	for _, o := range m.orders {
		if o.status == status {
			n += o.wants()[sku]
		}
	}
	return n
}

var skus, warehouses = []string{"a", "b", "c"}, []string{"leeds", "london", "york"}

func newMachine() *machine {
	m := &machine{
		handler: handler{ttl: 3 * time.Second}, now: epoch, shelf: make(Shelf),
		reservations: make(map[uuid.UUID]*Reservation), put: make(map[string]int64),
	}
	for _, sku := range skus {
		for _, w := range warehouses {
			m.shelf[sku] = append(m.shelf[sku], &Stock{SKU: sku, Warehouse: w})
		}
	}
	return m
}

// hear has the effects of an event and returns the events it causes.
func (m *machine) hear(t *rapid.T, e events.Event) (caused []events.Event) {
	r := m.reservations[events.OrderOf(e)]
	if r == nil {
		r = NewReservation(events.OrderOf(e))
		m.reservations[r.ID] = r
	}
	caused, err := m.handler.apply(r, inbox.Delivery{Event: e}, m.shelf, m.now)
	if err != nil {
		t.Fatalf("%s: %v", e.Type(), err)
	}
	return caused
}

// some draws an order in one of the statuses, or skips the step.
func (m *machine) some(t *rapid.T, statuses ...Status) *modelOrder {
	var fit []*modelOrder
	for _, o := range m.orders {
		for _, s := range statuses {
			if o.status == s {
				fit = append(fit, o)
			}
		}
	}
	if len(fit) == 0 {
		t.Skip("no such order")
	}
	return rapid.SampledFrom(fit).Draw(t, "order")
}

func (m *machine) NewOrder(t *rapid.T) {
	var lines []events.Line
	for range rapid.IntRange(1, 4).Draw(t, "lines") {
		lines = append(lines, events.Line{
			SKU: rapid.SampledFrom(skus).Draw(t, "sku"), Quantity: rapid.Int64Range(1, 5).Draw(t, "quantity"),
		})
	}
	m.orders = append(m.orders, &modelOrder{created: created(uuid.New(), lines...), status: Unknown})
}

func (m *machine) Created(t *rapid.T) {
	o := m.some(t, Unknown)
	want := Held
	for sku, n := range o.wants() {
		if m.put[sku]-m.has(Held, sku)-m.has(Shipped, sku) < n {
			want = Refused
		}
	}
	if o.early {
		want = Refused
	}
	o.status = want
	caused := m.hear(t, o.created)
	switch {
	case o.early && len(caused) > 0:
		t.Fatalf("announced %v of an order that was cancelled before", caused)
	case !o.early && (len(caused) != 1 || caused[0].Type() != map[Status]string{
		Held: inventory.TypeReserved, Refused: inventory.TypeReservationFailed}[want]):
		t.Fatalf("announced %v, want the order to be %s", caused, want)
	}
}

func (m *machine) CreatedAgain(t *rapid.T) {
	o := m.some(t, Held, Refused, Shipped, Released)
	if caused := m.hear(t, o.created); len(caused) > 0 {
		t.Fatalf("announced %v again", caused)
	}
}

func (m *machine) Confirmed(t *rapid.T) {
	m.ships(t, func(id uuid.UUID) events.Event { return orderConfirmed(id) })
}

func (m *machine) Completed(t *rapid.T) {
	m.ships(t, func(id uuid.UUID) events.Event { return companyCompleted(id) })
}

func (m *machine) ships(t *rapid.T, event func(uuid.UUID) events.Event) {
	o := m.some(t, Held, Shipped) // only what is held is ever confirmed
	caused := m.hear(t, event(o.created.OrderID))
	if committed := len(caused) == 1 && caused[0].Type() == inventory.TypeCommitted; committed != (o.status == Held) {
		t.Fatalf("announced %v of a %s order", caused, o.status)
	}
	o.status = Shipped
}

func (m *machine) Cancelled(t *rapid.T) {
	m.end(t, func(id uuid.UUID) events.Event { return orderCancelled(id) })
}

func (m *machine) PaymentFailed(t *rapid.T) {
	m.end(t, func(id uuid.UUID) events.Event { return paymentFailed(id) })
}

func (m *machine) end(t *rapid.T, event func(uuid.UUID) events.Event) {
	o := m.some(t, Unknown, Held, Refused, Released) // what is shipped is never cancelled
	caused := m.hear(t, event(o.created.OrderID))
	if released := len(caused) == 1 && caused[0].Type() == inventory.TypeReleased; released != (o.status == Held) {
		t.Fatalf("announced %v of a %s order", caused, o.status)
	}
	switch o.status {
	case Unknown:
		o.early = true
	case Held:
		o.status = Released
	}
}

func (m *machine) TimePasses(t *rapid.T) {
	m.now = m.now.Add(time.Second)
	for _, o := range m.orders {
		r := m.reservations[o.created.OrderID]
		if r == nil {
			continue
		}
		due := o.status == Held && !o.expired && !m.now.Before(*r.ExpiresAt)
		if e := r.Expire(m.now); (e != nil) != due {
			t.Fatalf("expired: %v, want %v", e != nil, due)
		}
		o.expired = o.expired || due
	}
}

func (m *machine) PutStock(t *rapid.T) {
	sku := rapid.SampledFrom(skus).Draw(t, "sku")
	st := m.shelf.at(sku, rapid.SampledFrom(warehouses).Draw(t, "warehouse"))
	count := st.Held + rapid.Int64Range(0, 8).Draw(t, "count")
	m.put[sku] += count - st.OnHand
	st.OnHand = count
}

func (m *machine) Check(t *rapid.T) {
	for _, sku := range skus {
		var onHand, held int64
		for _, st := range m.shelf[sku] {
			if st.Held < 0 || st.Held > st.OnHand {
				t.Fatalf("oversold: %+v", *st)
			}
			onHand, held = onHand+st.OnHand, held+st.Held
		}
		if want := m.has(Held, sku); held != want {
			t.Fatalf("%d of %s are held, want %d", held, sku, want)
		}
		if want := m.put[sku] - m.has(Shipped, sku); onHand != want {
			t.Fatalf("%d of %s are on hand, want %d", onHand, sku, want)
		}
	}
	for _, o := range m.orders {
		if r := m.reservations[o.created.OrderID]; r != nil && r.Status != o.status {
			t.Fatalf("reservation is %s, want %s", r.Status, o.status)
		}
	}
}

func TestReservationsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine()
		t.Repeat(map[string]func(*rapid.T){
			"": m.Check, "new order": m.NewOrder, "created": m.Created, "created again": m.CreatedAgain,
			"confirmed": m.Confirmed, "completed": m.Completed, "cancelled": m.Cancelled, "payment failed": m.PaymentFailed,
			"time passes": m.TimePasses, "put stock": m.PutStock,
		})
	})
}
