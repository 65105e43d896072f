package cart

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pushEvery is how often one browser is told something, at most.
	pushEvery = 250 * time.Millisecond
	// beatEvery is after how long a browser is told the age of all that it shows.
	beatEvery = 10 * time.Second
	// maxWaking is how many browsers are woken and do not write yet: what else the process
	// does, such as orders, waits behind these and not behind all.
	maxWaking = 128
)

// turns says which browser is told something when. Very many may watch one SKU, and thirty
// frames cost as much CPU as an order, so what they are told is bounded by perSecond in the long run.
// What was not used of that is kept, up to a frame for each browser: a change after a quiet time is
// told to all at once. So is what is urgent, ahead of the others; where that took more than
// there was, the others wait the longer.
type turns struct {
	perSecond float64
	kick      chan struct{}
	waking    atomic.Int64
	frames    atomic.Int64

	mu sync.Mutex
	// budget is how many frames may be told now, as of budgetAt. It is as low as one for each
	// browser below 0.
	budget   float64
	budgetAt time.Time
	// beatAt is when the next browser may be told something only for its age.
	beatAt time.Time
	n      int
	// A watcher is in one of these, or told something just now. Those who wait are in the
	// order in which they began to, resting and idle in that in which they were told.
	urgent, due, resting, idle list.List
}

// turn is what turns knows of a watcher. The lock of turns guards it.
type turn struct {
	in    *list.List
	place *list.Element
	// toldAt is when it was told something last, and allAt all.
	toldAt, allAt time.Time
	// changed and urgent are of what came while it was told something, or rested.
	changed, urgent bool
	// all says that the next frame has everything with its age.
	all bool
	// gone says that it ended.
	gone bool
}

func newTurns(perSecond float64) *turns {
	return &turns{perSecond: perSecond, kick: make(chan struct{}, 1)}
}

// framesOf is for a process with the cores of this one.
func framesOf(core int) float64 { return float64(core * runtime.GOMAXPROCS(0)) }

// move wants the lock.
func (t *turns) move(w *watcher, to *list.List) {
	if w.turn.in != nil {
		w.turn.in.Remove(w.turn.place)
	}
	w.turn.in, w.turn.place = to, nil
	if to != nil {
		w.turn.place = to.PushBack(w)
	}
}

func (t *turns) signal() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// join has a new watcher told what it does not have.
func (t *turns) join(w *watcher, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	t.budget++ // or a crowd that comes in would be told nothing else for a while
	w.turn.allAt = now
	t.move(w, &t.urgent)
	t.signal()
}

// leave forgets a watcher. It is signalled no more.
func (t *turns) leave(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	w.turn.gone = true
	t.move(w, nil)
	select {
	case <-w.wake:
		t.begins()
	default:
	}
}

// change has watchers told of a change.
func (t *turns) change(watchers map[*watcher]struct{}, urgent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range watchers {
		switch w.turn.in {
		case &t.idle:
			t.move(w, t.waiting(urgent))
		case &t.due:
			if urgent {
				t.move(w, &t.urgent)
			}
		case &t.urgent:
		default:
			w.turn.changed, w.turn.urgent = true, w.turn.urgent || urgent
		}
	}
	t.signal()
}

// waiting returns where one waits.
func (t *turns) waiting(urgent bool) *list.List {
	if urgent {
		return &t.urgent
	}
	return &t.due
}

// told has a watcher rest. It is to be told again later, if at all.
func (t *turns) told(w *watcher, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.turn.gone {
		return
	}
	w.turn.toldAt = now
	t.move(w, &t.resting)
	if t.resting.Len() == 1 {
		t.signal() // run does not know when a rest ends; the rests of others end later
	}
}

// run wakes watchers in their turn until ctx ends.
func (t *turns) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.kick:
		}
		timer.Reset(t.wakeSome(time.Now()))
	}
}

// wakeSome wakes those whose turn it is, and returns after how long to come back unless it is
// kicked.
func (t *turns) wakeSome(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := float64(t.n)
	t.budget = min(t.budget+now.Sub(t.budgetAt).Seconds()*t.perSecond, most)
	t.budgetAt = now
	t.rested(now)
	beats := t.beats(now)
	for t.waking.Load() < maxWaking {
		switch {
		case t.urgent.Len() > 0 && t.budget > -most:
			t.wake(&t.urgent, now)
		case t.due.Len() > 0 && t.budget >= 1:
			t.wake(&t.due, now)
		default:
			return t.pause(now, beats)
		}
	}
	return pushEvery // those who wake kick
}

// wake wakes the one who waits longest. It wants the lock, as the next ones do.
func (t *turns) wake(from *list.List, now time.Time) {
	w := from.Front().Value.(*watcher)
	t.move(w, nil)
	t.budget--
	if now.Sub(w.turn.allAt) >= t.beat() {
		w.turn.all, w.turn.allAt = true, now
	}
	t.waking.Add(1)
	w.wake <- struct{}{} // there is room: it is in no list from here until it was told
}

// rested ends the rest of those who were told something a while ago.
func (t *turns) rested(now time.Time) {
	for e := t.resting.Front(); e != nil && now.Sub(e.Value.(*watcher).turn.toldAt) >= pushEvery; e = t.resting.Front() {
		w := e.Value.(*watcher)
		to := &t.idle
		if w.turn.changed {
			to = t.waiting(w.turn.urgent)
		}
		w.turn.changed, w.turn.urgent = false, false
		t.move(w, to)
	}
}

// beat is after how long a browser is told the age of all that it shows: the more browsers
// there are the later, so that ages take half of what may be told.
func (t *turns) beat() time.Duration {
	return max(beatEvery, time.Duration(2*float64(t.n)/t.perSecond*float64(time.Second)))
}

// beats has those told the age of what they show who were told nothing for long, spread over
// time, and returns when the next one will be.
func (t *turns) beats(now time.Time) time.Time {
	const spread = 10 * time.Millisecond
	for {
		e := t.idle.Front()
		if e == nil {
			return now.Add(beatEvery)
		}
		w := e.Value.(*watcher)
		at := w.turn.toldAt.Add(t.beat())
		if at.Before(t.beatAt) {
			at = t.beatAt
		}
		if at.After(now) {
			return at
		}
		t.beatAt = later(t.beatAt, now.Add(-spread)).Add(time.Duration(2 / t.perSecond * float64(time.Second)))
		w.turn.allAt = time.Time{}
		t.move(w, &t.due)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause is until somebody's rest ends, there is something to tell again, or it is time for a beat.
func (t *turns) pause(now, beat time.Time) time.Duration {
	const least = time.Millisecond
	wait := beat.Sub(now)
	if e := t.resting.Front(); e != nil {
		wait = min(wait, e.Value.(*watcher).turn.toldAt.Add(pushEvery).Sub(now))
	}
	if t.due.Len()+t.urgent.Len() > 0 {
		const some = 8 // frames: waking for each would cost as much as the frame
		wait = min(wait, time.Duration(some/t.perSecond*float64(time.Second)))
	}
	return max(least, wait)
}

// waits is how many are to be told something.
func (t *turns) waits() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.urgent.Len() + t.due.Len())
}

// begins counts a watcher among those who write, and has others woken.
func (t *turns) begins() {
	if t.waking.Add(-1) == maxWaking/2 {
		t.signal()
	}
}

// all reports whether the next frame is to have everything, once.
func (t *turns) all(w *watcher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := w.turn.all
	w.turn.all = false
	return all
}
