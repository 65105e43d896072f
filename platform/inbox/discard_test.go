package inbox_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// A discarded event is no longer parked, and kept whole with who gave it up and why.
func TestDiscard(t *testing.T) {
	w, id := parkOne(t, note)
	before := w.parked()
	for _, by := range [][2]string{{"", "why"}, {"ann", " "}} {
		if err := w.inbox.Discard(t.Context(), id, by[0], by[1]); !errors.Is(err, inbox.ErrNoReason) {
			t.Errorf("Discard by %q because %q = %v", by[0], by[1], err)
		}
	}
	if err := w.inbox.Discard(t.Context(), id, "ann", "sent twice by the shop"); err != nil {
		t.Fatal(err)
	}
	if n := w.count("parked"); n != 0 {
		t.Errorf("%d are parked", n)
	}
	var by, reason, cause string
	var payload []byte
	var at time.Time
	err := w.pool.QueryRow(t.Context(), `select discarded_by, reason, cause, payload, discarded_at from parked_discards
		where event_id = $1`, id).Scan(&by, &reason, &cause, &payload, &at)
	if err != nil || by != "ann" || reason != "sent twice by the shop" || cause != before.Cause ||
		string(payload) != string(before.Payload) || time.Since(at) > time.Minute {
		t.Errorf("kept %s %q %q %s %s, %v", by, reason, cause, payload, at, err)
	}
	for _, err := range []error{w.inbox.Discard(t.Context(), id, "ann", "again"), w.inbox.Replay(t.Context(), id)} {
		if !errors.Is(err, inbox.ErrNotParked) {
			t.Errorf("%v, want ErrNotParked", err)
		}
	}
	w.wantEffects()
}

// The list has each event once, whatever happens to them meanwhile, and ends.
func TestListParkedByPages(t *testing.T) {
	w := newWorld(t, note)
	w.exec(`insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, parked_at)
		select 'order', gen_random_uuid(), 't', 'c', 1, '', '', now() - (i / 3) * interval '1 second' from generate_series(1, 25) i`)
	seen := make(map[uuid.UUID]int)
	var after inbox.Cursor
	for page := 1; ; page++ {
		list, next, err := w.inbox.ListParked(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			seen[p.EventID]++
			w.exec(`update parked set attempts = attempts + 1, tried_at = now() where event_id = $1`, p.EventID) // fails again
			w.exec(`insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload)
				values ('order', gen_random_uuid(), 't', 'c', 1, '', '')`) // another is parked
		}
		if next == nil {
			break
		}
		if after = *next; page > 5 {
			t.Fatal("the list does not end")
		}
	}
	if len(seen) != 25 {
		t.Errorf("listed %d events, want the 25 that were parked at the start", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("event %s is listed %d times", id, n)
		}
	}
}

func TestParkedEventsAreCounted(t *testing.T) {
	w := newWorld(t, note)
	stored := func(want int64) {
		t.Helper()
		servicetest.Await(t, fmt.Sprintf("%d parked events are counted", want), func() bool { return w.inbox.Stats().Stored == want })
	}
	w.deliver(inbox.Done, []byte("rubbish"), []byte("more rubbish"))
	stored(2)
	if err := w.inbox.Discard(t.Context(), w.listed()[0].EventID, "ann", "rubbish"); err != nil {
		t.Fatal(err)
	}
	stored(1)
}
