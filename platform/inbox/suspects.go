package inbox

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtx"
)

const (
	// suspectFor is how long an event that met a lock is tried apart from others.
	suspectFor = time.Minute
	// hurryFor is how long batches hurry after one has.
	hurryFor    = 10 * time.Second
	maxSuspects = 10_000
	// restFactor is how many times as long as a suspect's long try it has short ones
	// only, so that those beside it have most of the time.
	restFactor = 4
	warnEvery  = time.Minute
)

// suspects are the events that others were in the way of lately, or that took too long.
type suspects struct {
	any atomic.Bool // so that asking costs nothing as a rule

	mu     sync.Mutex
	met    map[uuid.UUID]*suspect
	warned time.Time
}

type suspect struct {
	id          uuid.UUID
	topic       string
	first, last time.Time
	tries       int
	long        int       // long tries so far
	rest        time.Time // until when tries are short
}

// note notes that others were in an event's way. Once in a while it returns the oldest
// suspect and how many there are, for the log; 0 otherwise.
func (s *suspects) note(id uuid.UUID, topic string, now time.Time) (oldest suspect, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.met == nil {
		s.met = make(map[uuid.UUID]*suspect)
	}
	if len(s.met) >= maxSuspects {
		s.forget(now)
	}
	e := s.met[id]
	if e == nil {
		if len(s.met) >= maxSuspects {
			return oldest, 0
		}
		e = &suspect{id: id, topic: topic, first: now}
		s.met[id] = e
	}
	e.last = now
	e.tries++
	s.any.Store(true)
	if now.Sub(s.warned) < warnEvery {
		return oldest, 0
	}
	s.warned = now
	oldest = *e
	for _, e := range s.met {
		if e.first.Before(oldest.first) {
			oldest = *e
		}
	}
	return oldest, len(s.met)
}

// limits are those of a suspect's next try. Now and then it has longer, each time twice
// as long as the last, up to what a whole batch has.
func (s *suspects) limits(id uuid.UUID, now time.Time) pgtx.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.met[id]
	if e == nil || now.Before(e.rest) {
		return probing
	}
	e.long++
	most, l := patient.whole, probing
	for range e.long {
		l = pgtx.Limits{Lock: min(2*l.Lock, most.Lock), Statement: min(2*l.Statement, most.Statement)}
		if l == most {
			break
		}
	}
	e.rest = now.Add(restFactor * l.Statement)
	return l
}

// stats returns how many there are and the age of the oldest.
func (s *suspects) stats(now time.Time) (n int, oldest time.Duration) {
	if !s.any.Load() {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	for _, e := range s.met {
		oldest = max(oldest, now.Sub(e.first))
	}
	return len(s.met), oldest
}

// clear notes that nobody is in the way of these any more.
func (s *suspects) clear(batch []*Message) {
	if !s.any.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		delete(s.met, m.delivery.ID)
	}
	s.any.Store(len(s.met) > 0)
}

// has reports whether others were in an event's way lately.
func (s *suspects) has(id uuid.UUID, now time.Time) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.met[id]
	return e != nil && now.Sub(e.last) < suspectFor
}

// some reports whether there were any within moments.
func (s *suspects) some(now time.Time) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	for _, e := range s.met {
		if now.Sub(e.last) < hurryFor {
			return true
		}
	}
	return false
}

func (s *suspects) forget(now time.Time) {
	for id, e := range s.met {
		if now.Sub(e.last) >= suspectFor {
			delete(s.met, id)
		}
	}
	s.any.Store(len(s.met) > 0)
}
