package inbox_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
)

func TestWhatCannotBeReadIsParkedOnce(t *testing.T) {
	_, valid := event(t)
	change := func(from, to string) []byte { return []byte(strings.Replace(string(valid), from, to, 1)) }
	for _, c := range []struct {
		name  string
		raw   []byte
		hasID bool
		cause string
	}{
		{"nothing", nil, false, "decode envelope"},
		{"rubbish", []byte("\x00\xff rubbish"), false, "decode envelope"},
		{"NUL where the trace should be", change(trace, `\u0000`)[:200], false, "decode envelope"},
		{"a type nobody knows", change(`"type":"payment.completed"`, `"type":"payment.dreamt"`), true, "unknown event type"},
		{"NUL in trace and type", []byte(strings.ReplaceAll(string(change(trace, `a\u0000b`)), topic, `x\u0000y`)), true, "unknown event type"},
		{"a broken rule", change(`"ch_1"`, `""`), true, "charge_id"},
		{"another topic's event", change(`"type":"payment.completed"`, `"type":"payment.failed"`), true, "schema"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, note)
			id, good := event(t)
			w.deliver(inbox.Done, c.raw, good)
			w.deliver(inbox.Done, c.raw)
			w.wantEffects(id)
			p := w.parked()
			if !strings.Contains(p.Cause, c.cause) || string(p.Payload) != string(c.raw) || p.Attempts != 2 {
				t.Errorf("parked %+v", p)
			}
			if derived := uuid.NewSHA1(uuid.NameSpaceOID, c.raw); (p.EventID == derived) == c.hasID {
				t.Errorf("parked under %s", p.EventID)
			}
		})
	}
}

func TestAnEventOnAnotherTopicIsParked(t *testing.T) {
	w := newWorld(t, note)
	id, raw := event(t)
	m := &inbox.Message{Topic: payment.TypeFailed, Payload: raw}
	if err := w.inbox.Handle(t.Context(), []*inbox.Message{m}); err != nil || m.Verdict != inbox.Done {
		t.Errorf("verdict %v, %v", m.Verdict, err)
	}
	if p := w.parked(); p.EventID != id || !strings.Contains(p.Cause, `"payment.completed" came on topic "payment.failed"`) {
		t.Errorf("parked %+v", p)
	}
}

func TestDeadLettersAreParkedUnderTheirTopic(t *testing.T) {
	w := newWorld(t, note)
	id, raw := event(t)
	m := &inbox.Message{Topic: "order.deadletter", Payload: raw}
	w.inbox.HandleDead(t.Context(), []*inbox.Message{m})
	p := w.parked()
	if m.Verdict != inbox.Done || p.EventID != id || p.Topic != topic || p.TraceParent != trace || !strings.Contains(p.Cause, "gave up") {
		t.Errorf("verdict %v, parked %+v", m.Verdict, p)
	}
	if err := w.inbox.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wantEffects(id)
}

func TestWhatCannotBeParkedIsDeliveredAgain(t *testing.T) {
	w := newWorld(t, func(context.Context, *outbox.Tx, []inbox.Delivery) error { return errPoison })
	w.exec(`alter table parked rename to parked_elsewhere`)
	_, raw := event(t)
	w.deliver(inbox.Again, raw, []byte("rubbish"))
	dead := messages(raw)
	w.inbox.HandleDead(t.Context(), dead)
	if dead[0].Verdict != inbox.Again {
		t.Error("a dead letter was acknowledged without being parked")
	}
}

// parkOne returns a world with one event that was parked since its handler
// failed, and what the handler answers from now on.
func parkOne(t *testing.T, later inbox.Handler) (*world, uuid.UUID) {
	t.Helper()
	var mended atomic.Bool
	w := newWorld(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		if mended.Load() {
			return later(ctx, tx, batch)
		}
		return errPoison
	})
	id, raw := event(t)
	w.deliver(inbox.Done, raw)
	if p := w.parked(); p.EventID != id {
		t.Fatalf("parked under %s, want %s", p.EventID, id)
	}
	mended.Store(true)
	return w, id
}

func TestReplaySucceeds(t *testing.T) {
	var replayed inbox.Delivery
	w, id := parkOne(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		replayed = batch[0]
		return errors.Join(note(ctx, tx, batch), confirm(tx, batch[0]))
	})
	if p, err := w.inbox.GetParked(t.Context(), id); err != nil || p.EventID != id {
		t.Fatalf("GetParked = %+v, %v", p, err)
	}
	if err := w.inbox.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wantEffects(id)
	if n := w.count("parked"); n != 0 {
		t.Error("it is still parked")
	}
	if replayed.ID != id || !strings.HasPrefix(replayed.Trace, "00-"+traceID) {
		t.Errorf("replayed with id %s and trace %s", replayed.ID, replayed.Trace)
	}
	if env := w.published(1)[0]; !strings.HasPrefix(env.TraceParent, "00-"+traceID) {
		t.Errorf("the event it caused has trace %s", env.TraceParent)
	}
}

func TestReplayFailsAndKeepsTheNewCause(t *testing.T) {
	for name, result := range map[string]func() error{
		"an error": func() error { return errors.New("another cause") },
		"a panic":  func() error { panic("another cause") },
	} {
		t.Run(name, func(t *testing.T) {
			w, id := parkOne(t, func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
				if err := note(ctx, tx, batch); err != nil {
					return err
				}
				return result()
			})
			before := w.parked()
			if err := w.inbox.Replay(t.Context(), id); err == nil || !strings.Contains(err.Error(), "another cause") {
				t.Errorf("Replay = %v", err)
			}
			p := w.parked()
			if !strings.Contains(p.Cause, "another cause") || p.Attempts != before.Attempts+1 ||
				!p.ParkedAt.Equal(before.ParkedAt) || !p.TriedAt.After(before.TriedAt) {
				t.Errorf("parked %+v, before %+v", p, before)
			}
			w.wantEffects()
		})
	}
}

func TestReplayOfWhatCannotBeRead(t *testing.T) {
	w := newWorld(t, note)
	w.deliver(inbox.Done, []byte("rubbish"))
	id := w.parked().EventID
	if err := w.inbox.Replay(t.Context(), id); err == nil {
		t.Error("Replay = nil")
	}
	if p := w.parked(); p.Attempts != 2 {
		t.Errorf("parked %+v", p)
	}
}

func TestReplayOfWhatIsNotParked(t *testing.T) {
	w := newWorld(t, note)
	id := uuid.Must(uuid.NewV7())
	if err := w.inbox.Replay(t.Context(), id); !errors.Is(err, inbox.ErrNotParked) {
		t.Errorf("Replay = %v, want ErrNotParked", err)
	}
	if _, err := w.inbox.GetParked(t.Context(), id); !errors.Is(err, inbox.ErrNotParked) {
		t.Errorf("GetParked = %v, want ErrNotParked", err)
	}
	if n := w.count("parked"); n != 0 {
		t.Errorf("%d parked", n)
	}
}

func TestConcurrentReplaysHaveOneEffect(t *testing.T) {
	w, id := parkOne(t, note)
	var replays sync.WaitGroup
	var succeeded atomic.Int32
	for range 5 {
		replays.Go(func() {
			switch err := w.inbox.Replay(t.Context(), id); {
			case err == nil:
				succeeded.Add(1)
			case !errors.Is(err, inbox.ErrNotParked):
				t.Errorf("Replay: %v", err)
			}
		})
	}
	replays.Wait()
	if n := succeeded.Load(); n != 1 || w.count("parked") != 0 {
		t.Errorf("%d replays succeeded, want one", n)
	}
	w.wantEffects(id)
}

// A parked event may come again and be handled, once its cause is mended. The
// replay then only clears it away.
func TestReplayOfWhatWasHandledMeanwhile(t *testing.T) {
	w, id := parkOne(t, note)
	w.deliver(inbox.Done, w.parked().Payload)
	if err := w.inbox.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wantEffects(id)
	if n := w.count("parked"); n != 0 {
		t.Error("it is still parked")
	}
}

// An event that is discarded while a replay of it fails stays discarded.
func TestAFailedReplayDoesNotParkAgain(t *testing.T) {
	var w *world
	w, id := parkOne(t, func(_ context.Context, _ *outbox.Tx, batch []inbox.Delivery) error {
		return discards{func() {
			if err := w.inbox.Discard(context.Background(), batch[0].ID, "ann", "sent twice"); err != nil {
				t.Error(err)
			}
		}}
	})
	if err := w.inbox.Replay(t.Context(), id); err == nil {
		t.Error("Replay = nil")
	}
	if n := w.count("parked"); n != 0 {
		t.Errorf("%d are parked, though it was discarded", n)
	}
}

// discards is an error that does something when it is compared, which the replay does
// between its transaction's end and noting the cause.
type discards struct{ do func() }

func (discards) Error() string { return "failed" }

func (d discards) Is(target error) bool {
	if target == inbox.ErrNotParked { //nolint:errorlint // that very one
		d.do()
	}
	return false
}
