package order

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/order/audit"
)

// The stories once more, through the handler, the inbox and PostgreSQL: an order
// lives through each sequence, side by side with all the others.
func TestEverySequenceThroughTheInbox(t *testing.T) {
	for _, s := range stories {
		if len(s.types) > 4 || slices.Contains(s.types, customerAsks) {
			continue // order_test.go has them all; http_test.go asks
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := newChorus(t, s)
			in := servicetest.RunInbox(t, c.kit, serverOf(c.kit).handle)
			for step := range len(s.types) + 1 {
				batch := make([]inbox.Message, 0, len(c.lives))
				for _, life := range c.lives {
					batch = append(batch, life.messages[step])
				}
				in.Deliver(batch...)
			}
			c.check(t)
		})
		t.Run(s.name+", in one batch", func(t *testing.T) {
			t.Parallel()
			c := newChorus(t, s)
			in := servicetest.RunInbox(t, c.kit, serverOf(c.kit).handle)
			for lives := range slices.Chunk(c.lives, 50) {
				var batch []inbox.Message
				for _, life := range lives {
					batch = append(batch, life.messages...)
				}
				in.Deliver(batch...)
			}
			c.check(t)
		})
	}
}

// What an order costs beside its lines is kept.
func TestExtrasAreKept(t *testing.T) {
	f := newFixture(t)
	in, id := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle), uuid.New()
	extras := events.Extras{Adjustments: []events.Adjustment{{Name: "SPRING10", Amount: -153, Line: 1}}, Shipping: 499, Tax: 375}
	in.Deliver(servicetest.Message(t, &checkout.OrderCreatedV2{
		OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", PaymentToken: "tok_success", QuoteID: id,
		Lines: []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}}, Extras: extras,
		Total: events.Money{Amount: 2251, Currency: "GBP"},
	}, epoch))
	tell(t, in, id, inventory.TypeReserved) // saves it again
	found, err := orders.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
	if err != nil || found[id] == nil || found[id].Amount != 2251 || !reflect.DeepEqual(found[id].Extras, extras) {
		t.Errorf("kept %+v, %v, want %+v", found[id], err, extras)
	}
	servicetest.CheckBooks(t, f.kit.Pool, audit.Books, id)
}

// chorus is many orders, each with one of the sequences of a story.
type chorus struct {
	fixture
	story story
	lives []life
}

type life struct {
	id       uuid.UUID
	sequence []int
	messages []inbox.Message
}

func newChorus(t *testing.T, s story) *chorus {
	c := &chorus{fixture: newFixture(t), story: s}
	for sequence := range servicetest.Redelivered(len(s.types)) {
		id := uuid.New()
		told := make([]inbox.Message, len(s.types))
		for n, eventType := range s.types {
			told[n] = servicetest.Message(t, sample(eventType, id), happenedAt(n))
		}
		life := life{id: id, sequence: slices.Clone(sequence)}
		for _, n := range sequence {
			life.messages = append(life.messages, told[n])
		}
		c.lives = append(c.lives, life)
	}
	return c
}

func (c *chorus) check(t *testing.T) {
	t.Helper()
	emitted := servicetest.Emitted(t, c.kit.Pool)
	ids := make([]uuid.UUID, len(c.lives))
	for i, life := range c.lives {
		ids[i] = life.id
	}
	found, err := orders.Load(t.Context(), c.kit.Pool, ids)
	if err != nil {
		t.Fatal(err)
	}
	ends := make(map[string]Order)
	for _, life := range c.lives {
		o := found[life.id]
		if o == nil {
			t.Fatalf("sequence %v: no order", life.sequence)
		}
		outcome := outcomeOf(o)
		if !slices.Contains(c.story.outcomes, outcome) {
			t.Fatalf("sequence %v: %q, want one of %v", life.sequence, outcome, c.story.outcomes)
		}
		if got := servicetest.Types(emitted[o.ID]); !slices.Equal(got, []string{announces[o.Status]}) {
			t.Fatalf("sequence %v: announced %v of a %s order", life.sequence, got, o.Status)
		}
		facts := factsOf(o)
		if first, ok := ends[outcome]; ok && !reflect.DeepEqual(facts, first) {
			t.Fatalf("sequence %v: ends as %+v, another with the same outcome as %+v", life.sequence, facts, first)
		}
		ends[outcome] = facts
	}
	if len(ends) != len(c.story.outcomes) {
		t.Errorf("%d of the outcomes %v came about", len(ends), c.story.outcomes)
	}
}

// factsOf is an order less what differs from one to the next.
func factsOf(o *Order) Order {
	facts := *o
	facts.ID, facts.Version, facts.SettledAt = uuid.Nil, 0, nil
	for _, at := range []*time.Time{
		facts.PlacedAt, facts.ReservedAt, facts.ReservationFailedAt, facts.ExpiredAt,
		facts.ReleasedAt, facts.PaidAt, facts.PaymentFailedAt, facts.RefundedAt,
	} {
		if at != nil {
			*at = at.UTC()
		}
	}
	return facts
}
