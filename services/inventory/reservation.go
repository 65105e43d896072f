package inventory

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/aggregate"
)

// Status of a reservation.
type Status string

// The statuses. Unknown turns into one of the next two, held into one of the
// last three but refused; the others are final.
const (
	Unknown  Status = "unknown"  // its order was not heard of yet, only a verdict on it
	Held     Status = "held"     // the stock waits for the order to be settled
	Refused  Status = "refused"  // something was short, or the order was cancelled first
	Shipped  Status = "shipped"  // the order was confirmed or, a company's, completed
	Released Status = "released" // the order was cancelled or not paid
)

// Verdict is what became of an order, as told by others.
type Verdict string

// The verdicts.
const (
	None    Verdict = ""
	Ship    Verdict = "ship"
	Release Verdict = "release"
)

// Reservation is the stock that one order holds. The JSON names are the columns.
type Reservation struct {
	aggregate.Row

	Status      Status              `json:"status"`
	Verdict     Verdict             `json:"verdict"`
	Allocations []events.Allocation `json:"allocations"`
	TraceParent string              `json:"traceparent"`
	ReservedAt  *time.Time          `json:"reserved_at,omitempty"`
	ExpiresAt   *time.Time          `json:"expires_at,omitempty"`
	ExpiredAt   *time.Time          `json:"expired_at,omitempty"`
	EndedAt     *time.Time          `json:"ended_at,omitempty"`
}

// NewReservation returns the reservation of an order not heard of yet.
func NewReservation(order uuid.UUID) *Reservation {
	return &Reservation{Row: aggregate.Row{ID: order}, Status: Unknown}
}

// Reserve holds the order's stock on the shelf for ttl, or refuses. It returns
// what must be announced, or nil: a repeated creation changes nothing, and an
// order whose cancellation came first gets no stock.
func (r *Reservation) Reserve(e *checkout.OrderCreatedV2, shelf Shelf, now time.Time, ttl time.Duration) []events.Event {
	if r.Status != Unknown {
		return nil
	}
	if r.Verdict == Release {
		r.Status, r.EndedAt = Refused, &now
		return nil
	}
	allocations, short := shelf.Allocate(e.Lines)
	if len(short) > 0 {
		r.Status, r.EndedAt = Refused, &now
		return []events.Event{&inventory.ReservationFailed{OfOrder: e.OfOrder, Reason: reasonOf(short), Shortages: short}}
	}
	expires := now.Add(ttl)
	r.Status, r.Allocations, r.ReservedAt, r.ExpiresAt = Held, allocations, &now, &expires
	out := []events.Event{&inventory.Reserved{
		OfOrder: e.OfOrder, Allocations: allocations,
		Total: e.Total, PaymentToken: e.PaymentToken, ExpiresAt: expires,
	}}
	if r.Verdict == Ship {
		out = append(out, r.ship(shelf, now))
	}
	return out
}

// Hold holds an order's stock for another service, which settles the order itself:
// such a reservation does not expire. Repeated, it changes nothing, and a verdict that
// came first counts, as it does for Reserve.
func (r *Reservation) Hold(lines []events.Line, nearest []string, backorder bool, shelf Shelf, now time.Time) events.Event {
	if r.Status != Unknown {
		return nil
	}
	if r.Verdict != Release {
		r.Allocations = shelf.AllocateNear(lines, nearest, backorder)
	}
	if len(r.Allocations) == 0 {
		r.Status, r.EndedAt = Refused, &now
		return nil
	}
	r.Status, r.ReservedAt = Held, &now
	if r.Verdict == Ship {
		return r.ship(shelf, now)
	}
	return nil
}

// GiveUp releases what Hold has held. An order not heard of yet is refused for good:
// nobody announces the orders of another service, so nothing need be waited for.
func (r *Reservation) GiveUp(shelf Shelf, now time.Time) error {
	if r.Status == Unknown {
		r.Status, r.Verdict, r.EndedAt = Refused, Release, &now
		return nil
	}
	_, err := r.Cancel(shelf, now) // whose event is for orders that were announced
	return err
}

func reasonOf(short []events.Shortage) events.Reason {
	s := short[0]
	message := fmt.Sprintf("Only %d of %d of %s are in stock.", s.Available, s.Requested, s.SKU)
	if s.Available <= 0 {
		message = s.SKU + " is out of stock."
	}
	switch more := len(short) - 1; more {
	case 0:
	case 1:
		message += " One more item is short."
	default:
		message += fmt.Sprintf(" %d more items are short.", more)
	}
	return events.Reason{Code: events.ReasonOutOfStock, Message: message}
}

// Confirm ships what is held. A confirmation that comes before the order itself
// is kept until then.
func (r *Reservation) Confirm(shelf Shelf, now time.Time) (events.Event, error) {
	switch r.Status {
	case Held:
		r.Verdict = Ship
		return r.ship(shelf, now), nil
	case Unknown:
		if r.Verdict == None {
			r.Verdict = Ship
		}
	case Shipped:
	case Released, Refused:
		return nil, fmt.Errorf("order %s is confirmed, but its stock is %s", r.ID, r.Status)
	}
	return nil, nil //nolint:nilnil // nothing to announce is no fault
}

// ship is the only way to become shipped, so that each is announced, once.
func (r *Reservation) ship(shelf Shelf, now time.Time) events.Event {
	shelf.Ship(r.Allocations)
	r.Status, r.EndedAt = Shipped, &now
	return &inventory.Committed{OfOrder: events.OfOrder{OrderID: r.ID}, Allocations: r.Allocations}
}

// Cancel releases what is held, since the order was cancelled or its payment
// failed for good. One that comes before the order itself is kept until then.
func (r *Reservation) Cancel(shelf Shelf, now time.Time) (events.Event, error) {
	switch r.Status {
	case Held:
		shelf.Release(r.Allocations)
		r.Status, r.Verdict, r.EndedAt = Released, Release, &now
		return &inventory.Released{OfOrder: events.OfOrder{OrderID: r.ID}, Allocations: r.Allocations}, nil
	case Unknown:
		if r.Verdict == None {
			r.Verdict = Release
		}
	case Released, Refused:
	case Shipped:
		return nil, fmt.Errorf("order %s is cancelled, but its stock is shipped", r.ID)
	}
	return nil, nil //nolint:nilnil // nothing to announce is no fault
}

// Expire asks for the order to be cancelled, once. The stock stays held until
// the order service, which alone decides, has answered: a payment may have
// confirmed the order at this very moment.
func (r *Reservation) Expire(now time.Time) events.Event {
	if r.Status != Held || r.ExpiresAt == nil || r.ExpiredAt != nil || now.Before(*r.ExpiresAt) {
		return nil
	}
	r.ExpiredAt = &now
	return &inventory.ReservationExpired{OfOrder: events.OfOrder{OrderID: r.ID}, ExpiredAt: now}
}
