package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
)

// topics are those of customers' orders that a service hears.
var topics = []string{
	checkout.TypeOrderCreated, checkout.TypeOrderCreatedV2,
	inventory.TypeReserved, inventory.TypeReservationFailed,
	inventory.TypeReleased, inventory.TypeReservationExpired,
	payment.TypeCompleted, payment.TypeFailed, payment.TypeRefunded,
	order.TypeConfirmed, order.TypeCancelled,
}

// message is an event as it lies on the broker.
type message struct {
	topic, payload string
	events.Envelope
}

// published returns the events of orders that are on the broker, oldest first
// within a topic.
func (s *system) published(t *testing.T, ids ...uuid.UUID) []message {
	t.Helper()
	broker := s.broker(t)
	var found []message
	for _, topic := range topics {
		payloads, err := broker.read(t.Context(), topic)
		if err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		for _, payload := range payloads {
			envelope, event, err := events.Decode([]byte(payload))
			if err != nil || !slices.Contains(ids, events.OrderOf(event)) {
				continue // what other tests left
			}
			found = append(found, message{topic, payload, envelope})
		}
	}
	return found
}

// committedOnce waits until inventory has announced, of these orders, just those that are
// shipped, each by one event (which may lie there twice) with the stock it had. In one
// process there is no broker to look at.
func (s *system) committedOnce(t *testing.T, ids ...uuid.UUID) {
	t.Helper()
	if inOneProcess {
		return
	}
	broker := s.broker(t)
	eventually(t, settleWithin, "shipped orders announced", func(ctx context.Context) error {
		rows, err := s.books.pools["inventory"].Query(ctx,
			`select id, allocations from reservations where id = any($1) and status = 'shipped'`, ids)
		if err != nil {
			return err
		}
		shipped := map[uuid.UUID][]events.Allocation{}
		var id uuid.UUID
		var allocations []events.Allocation
		if _, err := pgx.ForEachRow(rows, []any{&id, &allocations}, func() error {
			shipped[id] = slices.Clone(allocations)
			return nil
		}); err != nil {
			return err
		}
		payloads, err := broker.read(ctx, inventory.TypeCommitted)
		if err != nil {
			return err
		}
		told := map[uuid.UUID]uuid.UUID{} // the event of each order
		for _, payload := range payloads {
			envelope, event, err := events.Decode([]byte(payload))
			if err != nil {
				return err
			}
			committed, _ := event.(*inventory.Committed)
			if committed == nil || !slices.Contains(ids, committed.OrderID) {
				continue
			}
			if first, twice := told[committed.OrderID]; twice && first != envelope.ID {
				t.Fatalf("order %s was announced by events %s and %s", committed.OrderID, first, envelope.ID)
			}
			told[committed.OrderID] = envelope.ID
			if want := shipped[committed.OrderID]; !slices.Equal(committed.Allocations, want) {
				return fmt.Errorf("order %s is announced with %v, shipped with %v", committed.OrderID, committed.Allocations, want)
			}
		}
		if len(told) != len(shipped) {
			return fmt.Errorf("%d orders are shipped, %d announced", len(shipped), len(told))
		}
		return nil
	})
}

// awaitDelivered waits until every consumer has answered for all that is on the
// broker.
func (s *system) awaitDelivered(t *testing.T, broker carrier, topics ...string) {
	t.Helper()
	eventually(t, settleWithin, "all delivered", func(ctx context.Context) error { return broker.delivered(ctx, topics...) })
}

// traceOf is the trace id of a W3C trace context.
func traceOf(traceParent string) string {
	parts := strings.Split(traceParent, "-")
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}

// envelope makes an event that no service has published.
func envelope(t *testing.T, source string, e events.Event) (id uuid.UUID, payload string) {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := events.Encode(id, source, time.Now(), unsampled(), e)
	if err != nil {
		t.Fatal(err)
	}
	return id, string(raw)
}
