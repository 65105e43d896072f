package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
)

// parked is an event as the admin port shows it.
type parked struct {
	EventID     uuid.UUID `json:"event_id"`
	Topic       string
	Cause       string
	Attempts    int
	TraceParent string
	Payload     []byte
}

func (s *system) adminAuth(app string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + s.AdminToken(app)}
}

// awaitParked waits until a service has parked an event.
func (s *system) awaitParked(t *testing.T, app string, match func(parked) bool) parked {
	t.Helper()
	var found parked
	eventually(t, soon, "event parked by "+app, func(ctx context.Context) error {
		a, err := s.send(ctx, http.MethodGet, s.AdminURL(app)+"/parked", s.adminAuth(app), nil)
		if err != nil {
			return err
		}
		var list struct{ Parked []parked }
		a.decode(t, &list)
		for _, p := range list.Parked {
			if match(p) {
				found = p
				return nil
			}
		}
		return fmt.Errorf("%d others are parked: %s", len(list.Parked), a.body)
	})
	return found
}

func withID(id uuid.UUID) func(parked) bool {
	return func(p parked) bool { return p.EventID == id }
}

func (s *system) replay(t *testing.T, app string, id uuid.UUID) answer {
	t.Helper()
	return s.ask(t, http.MethodPost, s.AdminURL(app)+"/parked/"+id.String()+"/replay", s.adminAuth(app), nil)
}

// discard forgets parked events for good, as the person who looked at them may decide.
func (s *system) discard(t *testing.T, app string) {
	t.Helper()
	s.asOwner(t, app, `delete from parked`)
}

// asOwner changes a service's database behind its back.
func (s *system) asOwner(t *testing.T, app, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), soon)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.OwnerURL(app))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

func TestRule3_RubbishIsParkedAndBlocksNobody(t *testing.T) {
	s, broker := sys, sys.broker(t)
	s.setStock(t, "beside-rubbish", map[string]int64{"leeds": 100})
	for _, c := range []struct{ name, payload, cause string }{
		{"no JSON", "\x00\xff rubbish", "decode envelope"},
		{"empty", "", "decode envelope"},
		{"no CloudEvent", `{"order_id": "1"}`, "not a CloudEvents 1.0 event"},
		{"unheard-of type", `{"specversion":"1.0","id":"0198f0c4-0000-7000-8000-000000000001","type":"order.teleported"}`, "unknown event type"},
		{"type of another topic", other(t), "came on topic"},
		{"breaks its contract", strings.Replace(other(t), `"charge_id":"ch_1"`, `"charge_id":""`, 1), "charge_id is required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { s.discard(t, "inventory"); s.discard(t, "order") })
			if err := broker.publish(t.Context(), checkout.TypeOrderCreated, c.payload); err != nil {
				t.Fatal(err)
			}
			id := s.mustPlace(t, basketOf("beside-rubbish", 1, "tok_success"))
			s.expect(t, id, confirmed(250))
			for _, app := range []string{"inventory", "order"} {
				p := s.awaitParked(t, app, func(p parked) bool { return string(p.Payload) == c.payload })
				if p.Topic != checkout.TypeOrderCreated || !strings.Contains(p.Cause, c.cause) || p.Attempts < 1 {
					t.Errorf("%s parked topic %s, cause %q, attempts %d; want cause %q", app, p.Topic, p.Cause, p.Attempts, c.cause)
				}
			}
		})
	}
	s.balanced(t)
}

// other is an event that does not belong on the topic of new orders.
func other(t *testing.T) string {
	t.Helper()
	_, payload := envelope(t, "payment", &payment.Completed{
		OfOrder: events.OfOrder{OrderID: uuid.New()}, ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	})
	return payload
}

func TestRule3_AnEventThatContradictsIsParkedByWhomItConcerns(t *testing.T) {
	s, broker := sys, sys.broker(t)
	s.setStock(t, "contradicted", map[string]int64{"leeds": 10})
	id := s.mustPlace(t, basketOf("contradicted", 1, "tok_success"))
	s.expect(t, id, confirmed(250))

	event, payload := envelope(t, "payment", &payment.Failed{
		OfOrder: events.OfOrder{OrderID: id}, Reason: events.Reason{Code: "late", Message: "Too late."},
	})
	if err := broker.publish(t.Context(), payment.TypeFailed, payload); err != nil {
		t.Fatal(err)
	}
	p := s.awaitParked(t, "inventory", withID(event))
	t.Cleanup(func() { s.discard(t, "inventory") })
	if !strings.Contains(p.Cause, "its stock is shipped") || p.Attempts != 3 {
		t.Errorf("cause is %q after %d attempts, want the stock's after 3", p.Cause, p.Attempts)
	}

	if a := s.replay(t, "inventory", event); a.status != http.StatusUnprocessableEntity {
		t.Errorf("replay answers %d %s, want 422 since the cause is still there", a.status, a.body)
	}
	if p := s.awaitParked(t, "inventory", withID(event)); p.Attempts != 4 {
		t.Errorf("attempts are %d after the replay, want 4", p.Attempts)
	}
	s.expect(t, id, confirmed(250))
}

func TestRule3_AParkedEventIsReplayedWithItsIdAndTraceOnceMended(t *testing.T) {
	s := sys
	s.setStock(t, "jinxed", map[string]int64{"leeds": 10})
	s.setStock(t, "lucky", map[string]int64{"leeds": 10})
	s.asOwner(t, "inventory", `alter table stock add constraint jinx check (sku <> 'jinxed' or held = 0)`)
	mend := func() { s.asOwner(t, "inventory", `alter table stock drop constraint if exists jinx`) }
	t.Cleanup(mend)

	jinxed := s.mustPlace(t, basketOf("jinxed", 1, "tok_success"))
	lucky := s.mustPlace(t, basketOf("lucky", 1, "tok_success"))
	s.expect(t, lucky, confirmed(250))
	var created message
	eventually(t, soon, "the order on its topic", func(context.Context) error {
		found := s.published(t, jinxed)
		if len(found) == 0 {
			return fmt.Errorf("order %s is not there", jinxed)
		}
		created = found[0]
		return nil
	})
	p := s.awaitParked(t, "inventory", withID(created.ID))
	if !strings.Contains(p.Cause, "jinx") || traceOf(p.TraceParent) != traceOf(created.TraceParent) {
		t.Errorf("parked with cause %q and traceparent %s, want the constraint's name and trace of %s", p.Cause, p.TraceParent, created.TraceParent)
	}

	mend()
	if a := s.replay(t, "inventory", created.ID); a.status != http.StatusOK {
		t.Fatalf("replay answers %d %s", a.status, a.body)
	}
	s.expect(t, jinxed, confirmed(250))
	s.traceOnBroker(t, jinxed)
	if n := s.text(t.Context(), t, "inventory", `select count(*)::text from inbox where event_id = $1`, created.ID); n != "1" {
		t.Errorf("inbox has %s rows of the event's own id, want 1", n)
	}
	if a := s.replay(t, "inventory", created.ID); a.status != http.StatusNotFound {
		t.Errorf("a second replay answers %d %s, want 404", a.status, a.body)
	}
	s.balanced(t)
}

func TestRule3_DeadLettersAreParkedUnderTheirOwnTopic(t *testing.T) {
	s, broker := sys, sys.broker(t)
	s.setStock(t, "dead-lettered", map[string]int64{"leeds": 10})
	id := s.mustPlace(t, basketOf("dead-lettered", 1, "tok_success"))
	s.expect(t, id, confirmed(250))
	heard := map[string]string{ // a topic of each
		"checkout": order.TypeConfirmed, "inventory": checkout.TypeOrderCreated,
		"payment": inventory.TypeReserved, "order": payment.TypeCompleted,
	}
	given := map[string]message{}
	for _, app := range s.subscribers() {
		for _, m := range s.published(t, id) {
			if m.topic == heard[app] {
				given[app] = m
			}
		}
		if err := broker.publish(t.Context(), app+".deadletter", given[app].payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, app := range s.subscribers() {
		m := given[app]
		p := s.awaitParked(t, app, withID(m.ID))
		if p.Topic != m.topic || string(p.Payload) != m.payload {
			t.Errorf("%s parked topic %s and payload %s", app, p.Topic, p.Payload)
		}
		// It had its effect already: a replay does nothing more and takes it away.
		if a := s.replay(t, app, m.ID); a.status != http.StatusOK {
			t.Errorf("replay by %s answers %d %s", app, a.status, a.body)
		}
	}
	s.expect(t, id, confirmed(250))
	s.balanced(t)
}

func TestParked_WantsTheToken(t *testing.T) {
	for _, app := range sys.WithDatabase() {
		for _, header := range []map[string]string{nil, {"Authorization": "Bearer wrong"}, {"dapr-api-token": sys.APIToken()}} {
			a := sys.ask(t, http.MethodGet, sys.AdminURL(app)+"/parked", header, nil)
			if a.status != http.StatusUnauthorized {
				t.Errorf("%s answers %d with header %v, want 401", app, a.status, header)
			}
		}
	}
}
