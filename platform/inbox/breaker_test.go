package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
)

// switched is a handler that fails while fault is set, and what it writes to its log.
type switched struct {
	*world
	mu    sync.Mutex
	fault func(context.Context, *outbox.Tx, []inbox.Delivery) error
	logs  bytes.Buffer
}

func newSwitched(t *testing.T) *switched {
	s := &switched{}
	s.world = newWorld(t, note)
	s.inbox = inbox.New(inbox.Config{
		Consumer: consumer, Pool: s.pool, Outbox: s.outbox, Log: slog.New(slog.NewTextHandler(s, nil)),
		Handler: func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
			s.mu.Lock()
			fault := s.fault
			s.mu.Unlock()
			if fault != nil {
				if err := fault(ctx, tx, batch); err != nil {
					return err
				}
			}
			return note(ctx, tx, batch)
		},
	})
	run(t, s.inbox)
	return s
}

// Write takes the inbox's log.
func (s *switched) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.Write(p)
}

func (s *switched) fails(fault func(context.Context, *outbox.Tx, []inbox.Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *switched) logged(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.logs.String(), part)
}

func (s *switched) expect(parked int, alarm bool) {
	s.Helper()
	if n := s.count("parked"); n != parked {
		s.Errorf("%d events are parked, want %d", n, parked)
	}
	if err := s.inbox.Alarm(); (err != nil) != alarm {
		s.Errorf("alarm: %v, want one: %v", err, alarm)
	}
}

func query(sql string, read func(pgx.Rows) error) func(context.Context, *outbox.Tx, []inbox.Delivery) error {
	return func(ctx context.Context, tx *outbox.Tx, _ []inbox.Delivery) error {
		rows, err := tx.Query(ctx, sql)
		if err != nil {
			return err
		}
		return read(rows)
	}
}

func whole(rows pgx.Rows) error {
	_, err := pgtx.Collect(rows, pgx.RowToStructByName[struct{ A int }])
	return err
}

// What no event can be blamed for is never parked: a column that a migration took
// away, a right that the role has not, rows that do not fit.
func TestFaultsOfOurOwnAreNotParked(t *testing.T) {
	for name, fault := range map[string]func(context.Context, *outbox.Tx, []inbox.Delivery) error{
		"42703 no such column": query(`select nothing_of_the_kind from effect`, whole),
		"42P01 no such table":  query(`select 1 a from nothing_of_the_kind`, whole),
		"42501 no right":       query(`select 1 a from pg_read_file('nothing')`, whole),
		"rows do not fit":      query(`select 1 a, 2 b`, whole),
		"with the commit": func(_ context.Context, tx *outbox.Tx, _ []inbox.Delivery) error {
			tx.Last(`insert into nothing_of_the_kind values (1)`)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSwitched(t)
			if name == "42501 no right" {
				fault = query(`set local role pg_monitor`, func(rows pgx.Rows) error { rows.Close(); return rows.Err() })
				read := query(`select 1 a from effect`, whole)
				first := fault
				fault = func(ctx context.Context, tx *outbox.Tx, b []inbox.Delivery) error {
					return errors.Join(first(ctx, tx, b), read(ctx, tx, b))
				}
			}
			s.fails(fault)
			one, a := event(t)
			two, b := event(t)
			for range 3 {
				s.deliver(inbox.Again, a, b)
			}
			s.expect(0, true)
			s.fails(nil)
			s.deliver(inbox.Done, a, b)
			s.wantEffects(one, two)
			s.expect(0, false)
			if begun, ended := s.logged("level=ERROR"), s.logged("level=INFO"); begun != 1 || ended != 1 {
				t.Errorf("%d errors and %d lines of its end are logged, want one each", begun, ended)
			}
		})
	}
}

// Several different events that fail one after another are not parked any more,
// however often each of them comes. A success lets the count begin again.
func TestSeveralFailuresInARowStopParking(t *testing.T) {
	s := newSwitched(t)
	failing := func(context.Context, *outbox.Tx, []inbox.Delivery) error { return errPoison }
	s.fails(failing)
	var raw [][]byte
	for n := range 8 {
		_, payload := event(t)
		raw = append(raw, payload)
		if n < 4 {
			s.deliver(inbox.Done, payload)
			s.deliver(inbox.Done, payload) // one event, however often it comes
			s.expect(n+1, false)
		} else {
			s.deliver(inbox.Again, payload)
			s.expect(4, true)
		}
	}
	if err := s.inbox.Alarm(); !errors.Is(err, errPoison) || !strings.Contains(err.Error(), topic) {
		t.Errorf("the alarm %q does not tell the cause and the topic", err)
	}
	if s.logged("parking has stopped") != 1 {
		t.Error("the alarm is not logged just once")
	}
	s.fails(nil)
	_, good := event(t)
	s.deliver(inbox.Done, good)
	s.expect(4, false)
	s.fails(failing)
	s.deliver(inbox.Done, raw[4])
	s.expect(5, false)
	s.fails(nil)
	s.deliver(inbox.Done, raw[5:]...)
	s.expect(5, false)
}

// While others of the topic succeed, any number of bad events is parked.
func TestFailuresAmongSuccessesAreParked(t *testing.T) {
	bad := make(map[uuid.UUID]error)
	w := newWorld(t, failing(bad))
	var payloads [][]byte
	for n := range 40 {
		id, raw := event(t)
		payloads = append(payloads, raw)
		if n%4 == 1 {
			bad[id] = errPoison
		}
	}
	w.deliver(inbox.Done, payloads...)
	if n := w.count("parked"); n != 10 || w.inbox.Alarm() != nil {
		t.Errorf("%d are parked, alarm %v, want all 10 and none", n, w.inbox.Alarm())
	}
}

// Successes of other topics do not hide that a topic fails, nor do they stop.
func TestAFailingTopicStopsParkingAmidOthers(t *testing.T) {
	s := newSwitched(t)
	s.fails(func(_ context.Context, _ *outbox.Tx, batch []inbox.Delivery) error {
		for _, d := range batch {
			if d.Event.Type() == topic {
				return errPoison
			}
		}
		return nil
	})
	for n := range 7 {
		_, bad := event(t)
		refund := &payment.Refunded{
			OfOrder: events.OfOrder{OrderID: uuid.New()}, RefundID: "r", Amount: events.Money{Amount: 1, Currency: "GBP"},
		}
		other, err := events.Encode(uuid.Must(uuid.NewV7()), "payment", time.Now(), trace, refund)
		if err != nil {
			t.Fatal(err)
		}
		batch := append(messages(bad), &inbox.Message{Topic: refund.Type(), Payload: other})
		if err := s.inbox.Handle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if want := n >= 4; (batch[0].Verdict == inbox.Again) != want || batch[1].Verdict != inbox.Done {
			t.Errorf("event %d: verdicts %v and %v", n, batch[0].Verdict, batch[1].Verdict)
		}
	}
	s.expect(4, true)
}

// A newer producer looks like one of rubbish: neither is parked without end, and
// neither stops good events.
func TestRubbishStopsParkingButNotGoodEvents(t *testing.T) {
	w := newWorld(t, note)
	rubbish := func(n int) []byte { return fmt.Appendf(nil, "rubbish %d", n) }
	for n := range 4 {
		w.deliver(inbox.Done, rubbish(n))
	}
	w.deliver(inbox.Again, rubbish(4))
	w.deliver(inbox.Again, rubbish(5), rubbish(4))
	if n := w.count("parked"); n != 4 || w.inbox.Alarm() == nil {
		t.Errorf("%d parked, alarm %v", n, w.inbox.Alarm())
	}
	id, good := event(t)
	w.deliver(inbox.Done, good)
	w.deliver(inbox.Done, rubbish(4), rubbish(5))
	w.wantEffects(id)
	if n := w.count("parked"); n != 6 || w.inbox.Alarm() != nil {
		t.Errorf("%d parked, alarm %v", n, w.inbox.Alarm())
	}
}

// An operator may have those events parked that fail now, and no others.
func TestAnOperatorHasFailingEventsParked(t *testing.T) {
	s := newSwitched(t)
	s.fails(query(`select nothing_of_the_kind from effect`, whole))
	var raw [][]byte
	for range 3 {
		_, payload := event(t)
		raw = append(raw, payload)
	}
	s.deliver(inbox.Again, raw...)
	for _, c := range []struct{ limit, accepted, parked int }{{2, 2, 2}, {100, 1, 3}} {
		if n := s.inbox.AcceptParking(t.Context(), c.limit); n != c.accepted {
			t.Errorf("%d may be parked, want %d", n, c.accepted)
		}
		batch := messages(raw...)
		if err := s.inbox.Handle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		raw = raw[:0]
		for _, m := range batch {
			if m.Verdict == inbox.Again {
				raw = append(raw, m.Payload)
			}
		}
		s.expect(c.parked, len(raw) > 0)
	}
	_, another := event(t)
	s.deliver(inbox.Again, another)
	s.expect(3, true)
}
