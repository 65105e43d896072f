package group_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/group"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type item struct{ in, out int }

func double(_ context.Context, batch []*item) {
	for _, i := range batch {
		i.out = 2 * i.in
	}
}

// start runs g and returns what ends it and waits for that.
func start(t testing.TB, g interface{ Run(context.Context) error }) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// In a synctest bubble time stands still while anything can run: any wait at all
// would show.
func TestIdleAddsNoDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group.New(group.Config{Linger: time.Hour}, double)
		stop := start(t, g)
		began := time.Now()
		for n := range 100 {
			i := &item{in: n}
			if err := g.Do(t.Context(), i); err != nil || i.out != 2*n {
				t.Fatalf("Do = %v, result %d", err, i.out)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("an idle group made its callers wait for %v", took)
		}
		stop()
	})
}

func TestABusyGroupLingersToShareABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		g := group.New(group.Config{Workers: 1, BusyAt: 2, Linger: time.Second}, func(_ context.Context, batch []*item) {
			sizes = append(sizes, len(batch))
		})
		stop := start(t, g)
		must(t, g.Do(t.Context(), &item{}, &item{})) // busy from here on
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { must(t, g.Do(t.Context(), &item{})) })
		synctest.Wait() // the worker holds the first and lingers
		both.Go(func() { must(t, g.Do(t.Context(), &item{})) })
		both.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("lingered for %v, want 1s", took)
		}
		if want := []int{2, 2}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		stop()
	})
}

func TestAFullBatchDoesNotLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group.New(group.Config{Workers: 1, BusyAt: 1, Max: 2, Linger: time.Hour}, double)
		stop := start(t, g)
		began := time.Now()
		must(t, g.Do(t.Context(), &item{}, &item{}))
		must(t, g.Do(t.Context(), &item{}, &item{}))
		if took := time.Since(began); took != 0 {
			t.Errorf("a full batch waited for %v", took)
		}
		stop()
	})
}

func TestAGroupThatWasBusyLongAgoIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group.New(group.Config{Workers: 1, BusyAt: 2, Linger: time.Second}, double)
		stop := start(t, g)
		must(t, g.Do(t.Context(), &item{}, &item{}))
		<-time.After(time.Minute) // the bubble's time
		began := time.Now()
		must(t, g.Do(t.Context(), &item{}))
		if took := time.Since(began); took != 0 {
			t.Errorf("the first caller after a pause waited for %v", took)
		}
		stop()
	})
}

func TestStoppingCutsLingerShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group.New(group.Config{Workers: 1, BusyAt: 1, Linger: time.Hour}, double)
		stop := start(t, g)
		must(t, g.Do(t.Context(), &item{}))
		i := &item{in: 4}
		began := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() { must(t, g.Do(context.Background(), i)) })
		synctest.Wait() // it lingers
		stop()
		waiting.Wait()
		if took := time.Since(began); took != 0 || i.out != 8 {
			t.Errorf("took %v, result %d", took, i.out)
		}
	})
}

// A blocked worker gathers what comes meanwhile, in the order it came, until a
// batch has Max; a submission is never split.
func TestBatchesKeepOrderAndMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var batches [][]int
		g := group.New(group.Config{Workers: 1, Max: 5, Linger: time.Millisecond}, func(_ context.Context, batch []*item) {
			<-release
			var ins []int
			for _, i := range batch {
				ins = append(ins, i.in)
			}
			batches = append(batches, ins)
		})
		stop := start(t, g)
		var callers sync.WaitGroup
		for n := range 5 {
			callers.Go(func() { must(t, g.Do(t.Context(), &item{in: 10 * n}, &item{in: 10*n + 1})) })
			synctest.Wait() // n is queued before n+1
		}
		if got := g.Waiting(); got != 4 {
			t.Errorf("%d wait, want 4", got)
		}
		close(release)
		callers.Wait()
		want := [][]int{{0, 1}, {10, 11, 20, 21, 30, 31}, {40, 41}}
		if !slices.EqualFunc(batches, want, slices.Equal[[]int]) {
			t.Errorf("batches %v, want %v", batches, want)
		}
		stop()
	})
}

func TestCancelledCallersReturnAtOnce(t *testing.T) {
	release := make(chan struct{})
	g := group.New(group.Config{Workers: 1, Queue: 1}, func(context.Context, []*item) { <-release })
	start(t, g)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 5)
	for range 5 { // one is run, one is queued, three find the queue full
		go func() { results <- g.Do(ctx, &item{}) }()
	}
	cancel()
	for range 5 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("Do = %v, want context.Canceled", err)
		}
	}
	close(release)
}

func TestClosingFinishesWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := group.New(group.Config{Workers: 1, Max: 1}, func(ctx context.Context, batch []*item) {
			<-release
			if ctx.Err() != nil {
				t.Error("a batch runs to its end when the process stops, so its context goes on")
			}
			double(ctx, batch)
		})
		stop := start(t, g)
		items := make([]*item, 20)
		var callers sync.WaitGroup
		for n := range items {
			items[n] = &item{in: n + 1}
			callers.Go(func() { must(t, g.Do(context.Background(), items[n])) })
		}
		synctest.Wait() // one is being run, the others are queued
		callers.Go(stop)
		synctest.Wait() // the group is to end
		close(release)
		callers.Wait()
		for n, i := range items {
			if i.out != 2*i.in {
				t.Errorf("item %d was queued, but not run", n)
			}
		}
		if err := g.Do(context.Background(), &item{}); !errors.Is(err, group.ErrClosed) {
			t.Errorf("Do after the end = %v, want ErrClosed", err)
		}
	})
}

func TestAThousandCallers(t *testing.T) {
	var mu sync.Mutex
	var batches, most int
	g := group.New(group.Config{Max: 50, Queue: 16}, func(ctx context.Context, batch []*item) {
		mu.Lock()
		batches, most = batches+1, max(most, len(batch))
		mu.Unlock()
		double(ctx, batch)
	})
	start(t, g)
	var callers sync.WaitGroup
	for n := range 1_000 {
		callers.Go(func() {
			i := &item{in: n}
			if err := g.Do(t.Context(), i); err != nil || i.out != 2*n {
				t.Errorf("caller %d: %v, result %d", n, err, i.out)
			}
		})
	}
	callers.Wait()
	if most > 50 {
		t.Errorf("a batch of %d, Max is 50", most)
	}
	t.Logf("%d batches, the largest of %d", batches, most)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, c := range []struct {
		name    string
		callers int
	}{{"alone", 1}, {"64 callers", 64}} {
		b.Run(c.name, func(b *testing.B) {
			g := group.New(group.Config{}, double)
			start(b, g)
			b.ReportAllocs()
			b.SetParallelism(max(c.callers/2, 1)) // per processor
			if c.callers == 1 {
				for b.Loop() {
					_ = g.Do(context.Background(), &item{in: 1})
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = g.Do(context.Background(), &item{in: 1})
				}
			})
		})
	}
}
