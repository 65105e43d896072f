package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/snapshot"
)

// Prices change at random, and are published at random moments. A consumer subscribes
// at some moment; of what was published before, it gets some events. Later it reads the
// snapshot, whose pages come while prices change. All events since it subscribed come,
// in any order, some twice, before, between and behind the pages. Then its view is the
// truth.
func TestTheViewBecomesTheTruth(t *testing.T) {
	s := newShop(t)
	rapid.Check(t, func(r *rapid.T) {
		s.empty(r)
		article := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		change := func() {
			for range rapid.IntRange(0, 4).Draw(r, "changes") {
				s.set(r, article.Draw(r, "article"), rapid.Int64Range(0, 3).Draw(r, "pence"))
				if rapid.Bool().Draw(r, "swept") {
					s.sweepAll(r)
				}
			}
		}
		for range rapid.IntRange(0, 3).Draw(r, "times before") {
			change()
		}
		earlier := s.emitted(t)
		var kept []snapshot.State[price]
		for _, state := range earlier {
			if rapid.Bool().Draw(r, "still on the broker") {
				kept = append(kept, state)
			}
		}
		delivered := 0 // of what was published since
		deliver := func() {
			now := append(slices.Clone(kept), s.emitted(t)[len(earlier):]...)
			if len(now) == 0 {
				return
			}
			for range rapid.IntRange(0, 3).Draw(r, "deliveries") {
				s.apply(r, rapid.SampledFrom(now).Draw(r, "event"))
				delivered++
			}
		}
		change()
		deliver()
		err := s.seen.Load(context.Background(), s.pool, func(ctx context.Context, token string) ([]snapshot.State[price], string, error) {
			states, next, err := s.Page(ctx, s.pool, token, rapid.IntRange(1, 3).Draw(r, "page"))
			change()
			deliver()
			return states, next, err
		})
		if err != nil {
			r.Fatalf("%v", err)
		}
		change()
		s.sweepAll(r)
		all := append(kept, s.emitted(t)[len(earlier):]...)
		for _, i := range rapid.Permutation(indexes(len(all))).Draw(r, "order") {
			s.apply(r, all[i])
		}
		if got, want := s.viewed(r), s.truth(r); !maps.Equal(got, want) {
			r.Fatalf("the view has %v, the truth is %v", got, want)
		}
	})
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// Several replicas publish while many change the same few articles: the versions of an
// article are 1, 2, 3, ..., each with one state, and the last is the truth.
func TestReplicasNeverPublishAnOlderStateAsNewer(t *testing.T) {
	s := newShop(t)
	var writers, sweepers sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		sweepers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if _, err := s.Sweep(context.Background(), s.outbox); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for range 150 {
				s.set(t, strconv.Itoa(random.IntN(3)), random.Int64N(1000))
			}
		})
	}
	writers.Wait()
	close(done)
	sweepers.Wait()
	s.sweepAll(t)

	states := s.emitted(t)
	last := make(map[string]snapshot.State[price])
	seen := make(map[string]map[int64]bool)
	for _, state := range states {
		if seen[state.Key] == nil {
			seen[state.Key] = make(map[int64]bool)
		}
		if seen[state.Key][state.Version] {
			t.Errorf("version %d of %s was published twice", state.Version, state.Key)
		}
		seen[state.Key][state.Version] = true
		if state.Version > last[state.Key].Version {
			last[state.Key] = state
		}
	}
	newest := make(map[string]int64)
	for key, state := range last {
		if int64(len(seen[key])) != state.Version {
			t.Errorf("%s has %d versions, the last is %d", key, len(seen[key]), state.Version)
		}
		if !state.Deleted {
			newest[key] = state.Value.Pence
		}
	}
	if truth := s.truth(t); !maps.Equal(newest, truth) {
		t.Errorf("the newest versions are %v, the truth is %v", newest, truth)
	}
}

// One replica has read a state when the next change comes and another replica takes it.
// The second must wait: what the first has read is older, and must get the lower version.
func TestAReplicaThatReadEarlierIsWaitedFor(t *testing.T) {
	s := newShop(t)
	s.set(t, "a", 1)
	s.sweepAll(t)

	admin := pgtest.Admin(t, s.pool)
	second, read := make(chan error, 1), s.Read
	slow := *s.Source
	slow.Read = func(ctx context.Context, db aggregate.Querier, keys []string) (map[string]price, error) {
		found, err := read(ctx, db, keys)
		s.set(t, "a", 3)
		go func() {
			_, err := s.Sweep(context.Background(), s.outbox)
			second <- err
		}()
		for waiting := false; !waiting && len(second) == 0; {
			err = errors.Join(err, admin.QueryRow(ctx, `
				select exists (select from pg_locks l join pg_stat_activity a using (pid)
				               where not l.granted and a.datname = current_database())`).Scan(&waiting))
		}
		return found, err
	}
	s.set(t, "a", 2)
	if _, err := slow.Sweep(t.Context(), s.outbox); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	want := []snapshot.State[price]{{Key: "a", Version: 1, Value: price{1}}, {Key: "a", Version: 2, Value: price{2}}, {Key: "a", Version: 3, Value: price{3}}}
	got := s.emitted(t)
	slices.SortFunc(got, func(a, b snapshot.State[price]) int { return int(a.Version - b.Version) })
	if !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

// While pages are read, keys come, change and go. What was there all the time is on just
// one page, and pages are in order.
func TestPagesUnderChange(t *testing.T) {
	s := newShop(t)
	for n := range 100 {
		s.set(t, fmt.Sprintf("stays-%03d", n), 1)
	}
	s.sweepAll(t)
	var found []string
	token := ""
	for n := 0; ; n++ {
		s.set(t, fmt.Sprintf("stays-%03d", (n*37)%100), int64(n+2))
		s.set(t, fmt.Sprintf("added-%03d", n), 1)           // before what is read
		s.set(t, fmt.Sprintf("stays-%03d-b", (n*7)%100), 1) // anywhere
		s.sweepAll(t)
		states, next, err := s.Page(t.Context(), s.pool, token, 9)
		if err != nil {
			t.Fatal(err)
		}
		if len(states) > 9 {
			t.Errorf("a page has %d states, want 9 at most", len(states))
		}
		for _, state := range states {
			found = append(found, state.Key)
		}
		if token = next; token == "" {
			break
		}
	}
	if !slices.IsSorted(found) {
		t.Error("the keys are not in order")
	}
	for n := range 100 {
		key := fmt.Sprintf("stays-%03d", n)
		if at, ok := slices.BinarySearch(found, key); !ok || at+1 < len(found) && found[at+1] == key {
			t.Errorf("%s is missing or twice on the pages", key)
		}
	}
}

func TestPageSizes(t *testing.T) {
	s := newShop(t)
	if _, err := s.pool.Exec(t.Context(), `insert into prices select to_char(i, 'FM00000'), 1, false, '{"pence": 1}' from generate_series(1, 1200) i`); err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[int]int{0: 500, -1: 500, 1: 1, 1000: 1000, 1200: 1000, 1 << 31: 1000} {
		states, next, err := s.Page(t.Context(), s.pool, "", asked)
		if err != nil || len(states) != want || next != states[want-1].Key {
			t.Errorf("asked for %d: %d states, next %q, %v, want %d", asked, len(states), next, err, want)
		}
	}
	if states, next, err := s.Page(t.Context(), s.pool, "01200", 10); err != nil || len(states) > 0 || next != "" {
		t.Errorf("behind the last: %v, %q, %v", states, next, err)
	}
}

// Many changes between two sweeps are one event with the newest state, and one that
// comes to nothing is none.
func TestChangesBetweenSweepsAreOneEvent(t *testing.T) {
	s := newShop(t)
	for n := range 20 {
		s.set(t, "a", int64(n+1))
	}
	s.set(t, "b", 1)
	s.set(t, "b", 0) // never published, and gone again
	s.sweepAll(t)
	s.set(t, "a", 5)
	s.set(t, "a", 20)
	s.sweepAll(t)
	s.set(t, "a", 0)
	s.sweepAll(t)
	want := []snapshot.State[price]{{Key: "a", Version: 1, Value: price{20}}, {Key: "a", Version: 2, Deleted: true}}
	if got := s.emitted(t); !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
	if states, _, err := s.Page(t.Context(), s.pool, "", 0); err != nil || !slices.Equal(states, want[1:]) {
		t.Errorf("the snapshot is %v (%v), want the tombstone of a", states, err)
	}
}

// What several states of one batch say of a key is the newest of them.
func TestABatchHasAKeySeveralTimes(t *testing.T) {
	s := newShop(t)
	s.apply(t, snapshot.State[price]{Key: "a", Version: 2, Value: price{2}},
		snapshot.State[price]{Key: "a", Version: 3, Value: price{3}}, snapshot.State[price]{Key: "a", Version: 1, Deleted: true})
	s.apply(t)
	if got := s.viewed(t); got["a"] != 3 {
		t.Errorf("the view has %v, want 3", got)
	}
}

func TestALoadThatFailedIsDoneAgain(t *testing.T) {
	s := newShop(t)
	for n := range 10 {
		s.set(t, strconv.Itoa(n), 7)
	}
	s.sweepAll(t)
	away := errors.New("away")
	load := func(fail string) error {
		return s.seen.Load(within(t, time.Minute), s.pool, func(ctx context.Context, token string) ([]snapshot.State[price], string, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a call has no time-out")
			}
			if token == fail {
				return nil, "", away
			}
			return s.Page(ctx, s.pool, token, 4)
		})
	}
	if err := load("7"); !errors.Is(err, away) {
		t.Errorf("Load = %v, want %v", err, away)
	}
	if got := len(s.viewed(t)); got != 8 {
		t.Errorf("%d articles after a failure, want the two pages of it", got)
	}
	if err := load("none"); err != nil || !maps.Equal(s.viewed(t), s.truth(t)) {
		t.Errorf("Load = %v, the view has %v", err, s.viewed(t))
	}
}
