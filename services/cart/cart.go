package cart

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/cart"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
)

// Line is how much of a SKU a cart has.
type Line = cart.Line

// Cart is what somebody means to buy. Prices are not in it: a quote has them, and is asked
// for when it is needed, so that no total can be out of date.
type Cart struct {
	aggregate.Row
	// CustomerID is nil in a guest's cart, TokenHash in a customer's.
	CustomerID *string `json:"customer_id,omitempty"`
	TokenHash  *string `json:"token_hash,omitempty"`
	// Lines are in the order in which they were added, one a SKU.
	Lines     []Line    `json:"lines"`
	CreatedAt time.Time `json:"created_at"`
	// ChangedAt is when somebody last changed the lines.
	ChangedAt time.Time `json:"changed_at"`
	// AbandonedAt is when cart.abandoned was said of this state.
	AbandonedAt *time.Time `json:"abandoned_at,omitempty"`
}

func newCart(now time.Time) *Cart {
	return &Cart{Row: aggregate.Row{ID: uuid.New()}, Lines: []Line{}, CreatedAt: now, ChangedAt: now}
}

// quantity of a SKU, which may be none.
func quantity(lines []Line, sku string) int64 {
	for _, l := range lines {
		if l.SKU == sku {
			return l.Quantity
		}
	}
	return 0
}

// withQuantity returns lines with another quantity of a SKU. 0 takes the line out.
func withQuantity(lines []Line, sku string, n int64) []Line {
	at := slices.IndexFunc(lines, func(l Line) bool { return l.SKU == sku })
	switch {
	case at < 0 && n == 0:
		return lines
	case at < 0:
		return append(slices.Clip(lines), Line{SKU: sku, Quantity: n})
	case n == 0:
		return slices.Delete(slices.Clone(lines), at, at+1)
	default:
		lines = slices.Clone(lines)
		lines[at].Quantity = n
		return lines
	}
}

// Set sets the quantity of a SKU; 0 takes it out.
func (c *Cart) Set(sku string, n int64, now time.Time) error {
	if err := events.CheckName("sku", sku); err != nil {
		return err
	}
	if n < 0 || n > events.MaxQuantity {
		return fault.Field("quantity", "out_of_range", "quantity is a number from 0 to %d.", events.MaxQuantity)
	}
	if quantity(c.Lines, sku) == n {
		return nil
	}
	lines := withQuantity(c.Lines, sku, n)
	if len(lines) > cart.MaxLines {
		return fault.New(fault.Conflict, "cart_full", "A cart has %d lines at most; take one out first.", cart.MaxLines)
	}
	c.changeTo(lines, now)
	return nil
}

func (c *Cart) changeTo(lines []Line, now time.Time) {
	c.Lines, c.ChangedAt, c.AbandonedAt = lines, now, nil
}

// Free returns what of lines is not being ordered. It is what a quote is about, so that
// nobody orders the same twice.
func Free(lines, ordering []Line) []Line {
	free := make([]Line, 0, len(lines))
	for _, l := range lines {
		if l.Quantity -= min(l.Quantity, quantity(ordering, l.SKU)); l.Quantity > 0 {
			free = append(free, l)
		}
	}
	return free
}

// add returns the sum of two lists of lines, of each SKU no more than a line may have.
func add(a, b []Line) []Line {
	sum := slices.Clone(a)
	for _, l := range b {
		sum = withQuantity(sum, l.SKU, min(quantity(sum, l.SKU)+l.Quantity, events.MaxQuantity))
	}
	return sum
}

// Merge moves what is in a guest's cart into this one: of each SKU the cart then has the
// higher of the two quantities. What is being ordered counts in neither, and stays where it
// is: it leaves its own cart when its order is confirmed. What does not fit stays in the
// guest's cart too. Moved lines are gone from there, so merging again changes nothing,
// whatever the customer did with them meanwhile.
func (c *Cart) Merge(guest *Cart, ordering, guestOrdering []Line, now time.Time) {
	lines, left := c.Lines, guest.Lines
	for _, l := range Free(guest.Lines, guestOrdering) {
		own := quantity(lines, l.SKU)
		if own == 0 && len(lines) >= cart.MaxLines {
			continue
		}
		inOrder := min(own, quantity(ordering, l.SKU))
		lines = withQuantity(lines, l.SKU, min(inOrder+max(own-inOrder, l.Quantity), events.MaxQuantity))
		left = withQuantity(left, l.SKU, quantity(left, l.SKU)-l.Quantity)
	}
	if len(left) == len(guest.Lines) && slices.Equal(left, guest.Lines) {
		return
	}
	guest.changeTo(left, now)
	if !slices.Equal(lines, c.Lines) {
		c.changeTo(lines, now)
	}
}

// Bought takes out what a confirmed order was made of. What was added meanwhile stays.
func (c *Cart) Bought(ordered []Line, now time.Time) {
	if left := Free(c.Lines, ordered); !slices.Equal(left, c.Lines) {
		c.changeTo(left, now)
	}
}

// Verdict is how an order ended.
type Verdict string

// The verdicts.
const (
	Open      Verdict = ""
	Confirmed Verdict = "confirmed"
	Cancelled Verdict = "cancelled"
)

// Ordering is an order that was made of a cart. While it is open its lines are being
// ordered: they are still in the cart, and no quote is about them. A cancelled order needs
// nothing to be undone.
type Ordering struct {
	aggregate.Row
	// CartID is nil until the order's creation is heard of.
	CartID  *uuid.UUID `json:"cart_id,omitempty"`
	Lines   []Line     `json:"lines"`
	Verdict Verdict    `json:"verdict"`
	HeardAt time.Time  `json:"heard_at"`
}

// Begin hears of the creation. It reports whether the cart is to give up its lines now:
// the order's end may have been heard first.
func (o *Ordering) Begin(cartID uuid.UUID, lines []Line) (bought bool) {
	if o.CartID != nil {
		return false
	}
	o.CartID, o.Lines = &cartID, add(nil, lines)
	return o.Verdict == Confirmed
}

// End hears of the end, and reports like Begin. An order ends once.
func (o *Ordering) End(v Verdict) (bought bool) {
	if o.Verdict != Open {
		return false
	}
	o.Verdict = v
	return v == Confirmed && o.CartID != nil
}
