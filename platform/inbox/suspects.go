package inbox

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// suspectFor is how long an event that met a lock is tried apart from others.
	suspectFor  = 10 * time.Second
	maxSuspects = 10_000
)

// suspects are the events that others were in the way of lately.
type suspects struct {
	any atomic.Bool // so that asking costs nothing as a rule

	mu  sync.Mutex
	met map[uuid.UUID]time.Time
}

// note notes that others were in an event's way, and reports whether that is news.
func (s *suspects) note(id uuid.UUID, now time.Time) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.met == nil {
		s.met = make(map[uuid.UUID]time.Time)
	}
	if len(s.met) >= maxSuspects {
		s.forget(now)
	}
	_, known := s.met[id]
	if len(s.met) < maxSuspects {
		s.met[id] = now
	}
	s.any.Store(true)
	return !known
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
	at, ok := s.met[id]
	return ok && now.Sub(at) < suspectFor
}

// some reports whether there are any.
func (s *suspects) some(now time.Time) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	s.any.Store(len(s.met) > 0)
	return len(s.met) > 0
}

func (s *suspects) forget(now time.Time) {
	for id, at := range s.met {
		if now.Sub(at) >= suspectFor {
			delete(s.met, id)
		}
	}
}
