// Package timeline tells one order's story from the books of all services.
package timeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/books"
)

// Sources are the services' databases, by service, to be read only.
type Sources struct {
	Databases map[string]*pgxpool.Pool
	// Services say what can be read of theirs. Default: all that there are.
	Services []books.Service
}

// ErrUnknown says that no service knows the order.
var ErrUnknown = errors.New("no service knows this order")

// Moment is one fact, told by the service whose doing it is.
type Moment struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	What    string    `json:"what"`
	Detail  string    `json:"detail,omitempty"`
	// Bad marks what speaks against the order.
	Bad bool `json:"bad,omitempty"`
}

// Timeline is all that is known of one order.
type Timeline struct {
	ID       uuid.UUID      `json:"id"`
	Status   string         `json:"status"`
	Reason   *events.Reason `json:"reason,omitempty"`
	WaitsFor string         `json:"waits_for,omitempty"`
	Customer string         `json:"customer_id,omitempty"`
	Total    events.Money   `json:"total"`
	Lines    []events.Line  `json:"lines"`

	Adjustments []events.Adjustment `json:"adjustments,omitempty"`
	Shipping    int64               `json:"shipping,omitempty"`
	Tax         int64               `json:"tax,omitempty"`

	TraceID string   `json:"trace_id,omitempty"`
	Moments []Moment `json:"moments"`
	// Parked counts the events that a service could not handle.
	Parked int `json:"parked"`
	// Done says that the order is settled and all services have followed.
	Done bool `json:"done"`
}

// Read reads an order's timeline. ErrUnknown where nobody has heard of it.
func Read(ctx context.Context, src Sources, id uuid.UUID) (*Timeline, error) {
	if src.Services == nil {
		src.Services = books.All()
	}
	t := &Timeline{ID: id}
	known := make(stories)
	for _, s := range books.In(src.Databases, src.Services) {
		if s.Story != nil {
			story, err := s.Story(ctx, s.DB, id)
			if err != nil {
				return nil, fmt.Errorf("read order %s at %s: %w", id, s.Name, err)
			}
			if story != nil {
				known[s.Name] = story
				t.add(s.Name, story.Moments)
			}
		}
		parked, err := audit.ParkedOf(ctx, s.DB, id)
		if err != nil {
			return nil, fmt.Errorf("read events of order %s parked at %s: %w", id, s.Name, err)
		}
		t.add(s.Name, parked)
		t.Parked += len(parked)
	}
	if len(known) == 0 && t.Parked == 0 {
		return nil, fmt.Errorf("order %s: %w", id, ErrUnknown)
	}
	known.tell(t)
	slices.SortStableFunc(t.Moments, func(a, b Moment) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(rank(a.Service), rank(b.Service)))
	})
	return t, nil
}

func (t *Timeline) add(service string, moments []audit.Moment) {
	for _, m := range moments {
		t.Moments = append(t.Moments, Moment{m.At, cmp.Or(m.By, service), m.What, m.Detail, m.Bad})
	}
}

// rank orders what happened at the same moment: causes come before effects.
func rank(service string) int {
	first := []string{"customer", "inventory", "payment", "order", "checkout"}
	if i := slices.Index(first, service); i >= 0 {
		return i
	}
	return len(first)
}

// stories are by service, of those that know the order.
type stories map[string]*audit.Story

// of returns a service's story; an empty one where it knows nothing.
func (s stories) of(service string) *audit.Story {
	if story := s[service]; story != nil {
		return story
	}
	return &audit.Story{}
}

// tell fills in what is not a moment: what was ordered, by checkout, and what became of it,
// by order, who decides that.
func (s stories) tell(t *Timeline) {
	ordered, decided := s.of("checkout"), s.of("order")
	t.Customer, t.Lines, t.Total = ordered.Customer, ordered.Lines, ordered.Total
	t.Adjustments, t.Shipping, t.Tax = ordered.Extras.Adjustments, ordered.Extras.Shipping, ordered.Extras.Tax
	t.TraceID = cmp.Or(traceID(ordered.Trace), traceID(decided.Trace))
	t.Status, t.Reason = cmp.Or(decided.Status, "pending"), decided.Reason
	t.WaitsFor, t.Done = s.waitsFor(), s.done()
}

// waitsFor names what an unsettled order waits for, or "".
func (s stories) waitsFor() string {
	decided := s["order"]
	if decided == nil {
		return "the order service to hear of it"
	}
	return cmp.Or(s.of(decided.Waits.On).Waits.What, decided.Waits.What)
}

// done reports whether the order is settled and everybody has followed.
func (s stories) done() bool {
	end, payment := s.of("order").Status, s.of("payment").Status
	switch {
	case end == "" || end == "pending":
		return false
	case s.of("checkout").Status == "placed":
		return false
	case slices.Contains([]string{"", "held", "unknown"}, s.of("inventory").Status):
		return false
	case payment == "":
		return true
	case end == "cancelled":
		return slices.Contains([]string{"unknown", "failed", "void", "refunded"}, payment)
	default:
		return payment == "completed"
	}
}

// traceID is the part of a W3C traceparent that names the trace.
func traceID(traceParent string) string {
	parts := strings.Split(traceParent, "-")
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}
