package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
)

func TestRule8_OneTraceAnOrder(t *testing.T) {
	const given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	s := sys
	s.setStock(t, "traced", map[string]int64{"leeds": 10})
	for _, c := range []struct {
		name, traceParent, token string
		last                     string // the event that ends the order
	}{
		{"begun by the service", "", "tok_success", order.TypeConfirmed},
		{"honours an incoming traceparent", given, "tok_decline", order.TypeCancelled},
		{"survives the provider's trouble", "", "tok_flaky", order.TypeConfirmed},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := s.placeTraced(t, c.traceParent, basketOf("traced", 1, c.token))
			s.awaitSettled(t, settleWithin, id)
			trace := s.traceOnBroker(t, id)
			if c.traceParent != "" && trace != traceOf(c.traceParent) {
				t.Errorf("trace is %s, want the caller's", trace)
			}
			for _, step := range []struct{ consumer, topic string }{
				{"inventory", checkout.TypeOrderCreated}, {"order", checkout.TypeOrderCreated},
				{"payment", inventory.TypeReserved}, {"inventory", c.last}, {"checkout", c.last},
			} {
				s.awaitSpan(t, step.consumer+" processing "+step.topic, trace, processing(step.consumer, step.topic, id))
			}
			s.awaitSpan(t, "the HTTP request", trace, func(sp span) bool {
				return sp.service == "checkout" && sp.kind == tracev1.Span_SPAN_KIND_SERVER && sp.traceID == trace
			})
			s.awaitSpan(t, "the provider's call", trace, func(sp span) bool {
				return strings.HasPrefix(sp.name, "payment provider") && sp.traceID == trace
			})
			for _, sp := range s.spans.where(func(sp span) bool { return sp.order == id.String() }) {
				if sp.traceID != trace {
					t.Errorf("span %q of %s is in trace %s, want %s", sp.name, sp.service, sp.traceID, trace)
				}
			}
		})
	}
}

// processing matches the span of a consumer's work on an event of an order.
func processing(consumer, topic string, order uuid.UUID) func(span) bool {
	return func(sp span) bool {
		return sp.name == "process "+topic && sp.consumer == consumer && sp.order == order.String()
	}
}

// What a replayed event causes is below its replay, and both tries are below its creation.
func TestRule8_AReplayIsPartOfTheTrace(t *testing.T) {
	s := sys
	s.setStock(t, "cursed", map[string]int64{"leeds": 10})
	s.asOwner(t, "inventory", `alter table stock add constraint curse check (sku <> 'cursed' or held = 0)`)
	mend := func() { s.asOwner(t, "inventory", `alter table stock drop constraint if exists curse`) }
	t.Cleanup(mend)
	id := s.placeTraced(t, "", basketOf("cursed", 1, "tok_success"))
	p := s.awaitParked(t, "inventory", func(p parked) bool { return strings.Contains(p.Cause, "curse") })
	mend()
	if a := s.replay(t, "inventory", p.EventID); a.status != http.StatusOK {
		t.Fatalf("replay answers %d %s", a.status, a.body)
	}
	s.expect(t, id, confirmed(250))
	tries := processing("inventory", checkout.TypeOrderCreated, id)
	eventually(t, soon, "spans of both tries, and of what the second caused", func(context.Context) error {
		found := s.spans.where(tries)
		if len(found) != 2 || found[0].parent == "" || found[0].parent != found[1].parent {
			return fmt.Errorf("the tries are %+v", found)
		}
		caused := s.spans.where(func(sp span) bool { return sp.parent == found[1].id && sp.name == "create "+inventory.TypeReserved })
		if len(caused) != 1 {
			return fmt.Errorf("below the replay there are %+v, and in the trace %q", caused, s.namesIn(found[1].traceID))
		}
		return nil
	})
}

// placeTraced places an order whose spans are exported.
func (s *system) placeTraced(t *testing.T, traceParent string, b basket) uuid.UUID {
	t.Helper()
	header := map[string]string{"Idempotency-Key": newKey()}
	if traceParent != "" {
		header["traceparent"] = traceParent
	}
	a := s.ask(t, http.MethodPost, s.HTTPURL("checkout")+"/v1/checkouts", header, b)
	var receipt struct{ ID uuid.UUID }
	if err := json.Unmarshal(a.body, &receipt); err != nil || a.status != http.StatusAccepted {
		t.Fatalf("place: %d %s", a.status, a.body)
	}
	return receipt.ID
}

// traceOnBroker returns the one trace id that all events of an order bear.
func (s *system) traceOnBroker(t *testing.T, id uuid.UUID) string {
	t.Helper()
	found := s.published(t, id)
	if len(found) < 3 {
		t.Fatalf("%d events of the order are on the broker", len(found))
	}
	trace := traceOf(found[0].TraceParent)
	for _, m := range found {
		if got := traceOf(m.TraceParent); got == "" || got != trace {
			t.Errorf("%s bears traceparent %q, want one of trace %q", m.topic, m.TraceParent, trace)
		}
	}
	return trace
}

func (s *system) awaitSpan(t *testing.T, what, trace string, match func(span) bool) {
	t.Helper()
	eventually(t, soon, "span of "+what, func(context.Context) error {
		found := s.spans.where(match)
		if len(found) == 0 {
			return fmt.Errorf("not exported, but so are %q", s.namesIn(trace))
		}
		return nil
	})
}

func (s *system) namesIn(trace string) (names []string) {
	for _, sp := range s.spans.where(func(sp span) bool { return sp.traceID == trace }) {
		names = append(names, sp.name)
	}
	return names
}
