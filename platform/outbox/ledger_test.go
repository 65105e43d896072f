package outbox

import (
	"testing"
	"time"
)

// What follows from a look at the slot, given what was known.
func TestLedgerFollowsTheSlot(t *testing.T) {
	start := time.Now()
	here := cluster{system: 1, timeline: 1}
	seen := ledger{boundary: 100, cluster: here, seen: sighting{start, 7, 5_000}, published: 110}
	marked := seen
	marked.mark, marked.horizon = 6_000, 120
	at := func(change func(*slot, *position)) (slot, position) {
		s := slot{publishes: true, reader: 7, confirmed: 5_000}
		p := position{cluster: here, started: start, horizon: 130, next: 140, log: 7_000}
		change(&s, &p)
		return s, p
	}
	for _, c := range []struct {
		name      string
		was       ledger
		change    func(*slot, *position)
		boundary  int64
		mark      int64
		published int64
	}{
		{"nothing new", seen, func(*slot, *position) {}, 100, 0, 110},
		{"a row that is over", seen, func(_ *slot, p *position) { p.first = 120 }, 100, 7_000, 110},
		{"a row of a transaction after one that runs", seen, func(_ *slot, p *position) { p.first = 130 }, 100, 0, 110},
		{"the mark is not confirmed", marked, func(s *slot, _ *position) { s.confirmed = 5_999 }, 100, 6_000, 110},
		{"the mark is confirmed", marked, func(s *slot, _ *position) { s.confirmed = 6_000 }, 100, 0, 120},
		{"the reader ended, nothing confirmed", marked, func(s *slot, _ *position) { s.reader = 0 }, 100, 6_000, 110},
		{"another reader, nothing confirmed", marked, func(s *slot, _ *position) { s.reader = 8 }, 100, 6_000, 110},
		{"the slot went back, in a crash of the server", marked, func(s *slot, p *position) {
			s.confirmed, p.started = 4_000, start.Add(time.Second)
		}, 100, 6_000, 110},
		{"another reader, and more is confirmed", marked, func(s *slot, _ *position) { s.reader, s.confirmed = 8, 6_500 }, 140, 0, 140},
		{"no reader, and more is confirmed", marked, func(s *slot, _ *position) { s.reader, s.confirmed = 0, 6_500 }, 140, 0, 140},
		{"a reader of the same number, of a server started again", marked, func(s *slot, p *position) {
			s.confirmed, p.started = 6_500, start.Add(time.Second)
		}, 140, 0, 140},
		{"another timeline", marked, func(_ *slot, p *position) { p.cluster.timeline = 2 }, 140, 0, 140},
		{"another cluster", marked, func(_ *slot, p *position) { p.cluster.system = 2 }, 140, 0, 140},
		{"transaction ids begin again", marked, func(_ *slot, p *position) { p.next = 90 }, 90, 0, 90},
		{"no slot", marked, func(s *slot, _ *position) { s.publishes = false }, everything, 0, 0},
		{"the first slot", ledger{boundary: everything}, func(*slot, *position) {}, 140, 0, 140},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := at(c.change)
			now := c.was.next(s, p)
			if now.boundary != c.boundary || now.mark != c.mark || now.published != c.published {
				t.Errorf("boundary %d, mark %d, published %d; want %d, %d, %d",
					now.boundary, now.mark, now.published, c.boundary, c.mark, c.published)
			}
			if now.boundary != everything && (now.cluster != p.cluster || now.seen != sighting{p.started, s.reader, s.confirmed}) {
				t.Errorf("%+v does not keep what was seen", now)
			}
		})
	}
}
