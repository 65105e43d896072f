package cart

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// audience is browsers that are told what the test's clock says.
type audience struct {
	levels   *levels
	now      time.Time
	version  int64
	watchers []*watcher
	// whole is how often each was told everything. stuck take nothing any more.
	whole map[*watcher]int
	stuck map[*watcher]bool
}

// newAudience watches one SKU. So many frames a second are sent in the long run.
func newAudience(n int, perSecond float64) *audience {
	a := &audience{levels: newLevels(nil, perSecond, slog.New(slog.DiscardHandler)), now: time.Now(), whole: make(map[*watcher]int), stuck: make(map[*watcher]bool)}
	for range n {
		a.watchers = append(a.watchers, a.levels.watchStock([]string{"a"}, "", a.now))
	}
	return a
}

func (a *audience) change(available int64) {
	a.version++
	a.levels.take(told(1, 0, levelOf("a", available, a.version)), a.now)
}

// pass lets time pass, and returns how many are told something.
func (a *audience) pass(d time.Duration) (frames int) {
	const step = 10 * time.Millisecond
	for end := a.now.Add(d); ; a.now = a.now.Add(step) {
		for woken := true; woken; {
			woken = false
			a.levels.turns.wakeSome(a.now)
			for _, w := range a.watchers {
				select {
				case <-w.wake:
				default:
					continue
				}
				a.levels.turns.begins()
				woken = true
				if a.stuck[w] {
					continue
				}
				all := a.levels.turns.all(w)
				if w.frame(all, a.now) != nil {
					frames++
				}
				if all {
					a.whole[w]++
				}
				a.levels.turns.told(w, a.now)
			}
		}
		if !a.now.Before(end) {
			return frames
		}
	}
}

// While stock changes all the time very many browsers are told at a bounded rate. Those who come, the
// first change and that there is no more are told to all at once.
func TestManyAreToldAtABoundedRate(t *testing.T) {
	const n, perSecond = 2_000, 400
	a := newAudience(n, perSecond)
	want := func(what string, got, least, most int) {
		t.Helper()
		if got < least || got > most {
			t.Errorf("%s: %d frames, want %d to %d", what, got, least, most)
		}
	}
	frames := a.pass(0)
	want("what there is when they come", frames, n, n)
	a.pass(6 * time.Second) // in which nothing is told, and what they took comes back
	a.change(100_000)
	frames = a.pass(0)
	want("that there is some", frames, n, n)
	a.pass(6 * time.Second)
	a.change(99_999)
	frames = a.pass(0)
	want("the first that is sold", frames, n, n)
	for sold := range 40 {
		a.change(99_998 - int64(sold))
		frames += a.pass(100 * time.Millisecond)
	}
	want("4 s of sale", frames-n, 4*perSecond-perSecond/10, 4*perSecond+perSecond/10)
	a.change(0)
	frames = a.pass(pushEvery)
	want("sold out", frames, n, n)
	for left := int64(1); left <= 20; left++ {
		a.change(left % 2)
		frames += a.pass(100 * time.Millisecond)
	}
	want("sold out and not, in turns", frames, n, 2*n)
	a.change(7)
	a.pass(12 * time.Second)
	for _, w := range a.watchers {
		if w.sent[0] != a.version {
			t.Fatalf("a browser has version %d in the end, want %d", w.sent[0], a.version)
		}
	}
}

// Few browsers are told of each change, four times a second at most.
func TestFewAreToldEachChange(t *testing.T) {
	a := newAudience(10, 400)
	a.pass(time.Second)
	for change := range int64(8) {
		a.change(1_000 + change)
		if frames := a.pass(pushEvery); frames != 10 {
			t.Errorf("change %d: %d frames, want 10", change, frames)
		}
	}
	frames := 0
	for change := range int64(100) {
		a.change(2_000 + change)
		frames += a.pass(10 * time.Millisecond)
	}
	if frames < 3*10 || frames > 6*10 {
		t.Errorf("%d frames in a second, want 4 for each of 10", frames)
	}
}

// Browsers that take nothing hold up nobody, and take nothing.
func TestBrowsersThatAreStuckHoldUpNobody(t *testing.T) {
	const n = 4 * maxWaking
	a := newAudience(n, 100_000)
	a.change(10)
	a.pass(time.Second)
	for _, w := range a.watchers[:n/2] {
		a.stuck[w] = true
	}
	for change := range int64(10) {
		a.change(20 + change)
		if frames := a.pass(pushEvery); frames != n/2 {
			t.Fatalf("change %d: %d frames, want %d", change, frames, n/2)
		}
	}
	for _, w := range a.watchers {
		w.end(a.now)
	}
	if turns := a.levels.turns; turns.n != 0 || turns.waking.Load() != 0 || turns.waits() != 0 || turns.resting.Len()+turns.idle.Len() != 0 {
		t.Errorf("once all went, %d are left, %d of them wake, %d wait and %d do not", turns.n, turns.waking.Load(), turns.waits(), turns.resting.Len()+turns.idle.Len())
	}
}

// Whoever shows stock hears how old it is, all that he shows, though other SKUs change all the time. Where
// there are many it takes longer, and ages take half of what may be told.
func TestAgesAreToldNowAndThen(t *testing.T) {
	for _, c := range []struct {
		n         int
		within    time.Duration
		changing  bool
		perSecond float64
	}{
		{10, beatEvery, false, 400}, {10, beatEvery, true, 400}, {2_000, 20 * time.Second, false, 200}, {2_000, 20 * time.Second, true, 200},
	} {
		t.Run(fmt.Sprint(c.n, " changing ", c.changing), func(t *testing.T) {
			a := newAudience(c.n, c.perSecond)
			a.pass(2 * c.within) // after which they are spread
			clear(a.whole)
			most := 0
			for began := a.now; a.now.Sub(began) < 2*c.within; {
				if c.changing {
					a.change(a.version + 1)
				}
				most = max(most, a.pass(100*time.Millisecond))
			}
			if !c.changing && c.n > 10 && most > int(c.perSecond/10) {
				t.Errorf("%d at a time", most)
			}
			for _, w := range a.watchers {
				if times := a.whole[w]; times < 1 || times > 3 {
					t.Fatalf("a browser heard of the age %d times in %v", times, 2*c.within)
				}
			}
		})
	}
}

// What changes while the only browser is being told something is told when it has rested: the
// loop does not sleep over it.
func TestAChangeWhileABrowserIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLevels(nil, 4_000, slog.New(slog.DiscardHandler))
		go v.turns.run(t.Context()) // ends with the bubble
		w := v.watchStock([]string{"a"}, "", time.Now())
		for n := range int64(3) {
			<-w.wake
			v.turns.begins()
			w.frame(v.turns.all(w), time.Now())
			v.take(told(1, 0, levelOf("a", n, n+1)), time.Now())
			synctest.Wait() // the loop has seen the change
			v.turns.told(w, time.Now())
			<-time.After(pushEvery)
			synctest.Wait()
			if len(w.wake) != 1 {
				t.Fatalf("change %d is not told %s later", n, pushEvery)
			}
		}
	})
}
