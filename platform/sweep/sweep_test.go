package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table has so many rows due, and notes when it was asked.
type table struct {
	mu sync.Mutex

	began    time.Time
	due      int
	err      error
	looks    []time.Duration
	deadline time.Duration
	log      bytes.Buffer
}

func newTable(due int) *table { return &table{began: time.Now(), due: due} }

func (b *table) take(ctx context.Context) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks = append(b.looks, time.Since(b.began))
	if at, ok := ctx.Deadline(); ok {
		b.deadline = time.Until(at)
	}
	if b.err != nil {
		return false, b.err
	}
	taken := min(b.due, 10)
	b.due -= taken
	return taken == 10, nil
}

// state waits until nothing moves any more.
func (b *table) state() (due int, looks []time.Duration) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.due, b.looks
}

func (b *table) set(due int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.due, b.err = due, err
}

func (b *table) sweep(every time.Duration) *sweep.Sweep {
	log := slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return sweep.New(sweep.Config{Name: "test", Every: every, Timeout: 3 * time.Second, Log: log}, b.take)
}

// run runs it until the test is done with it.
func run(t *testing.T, s *sweep.Sweep) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

func TestSweepTakesAllThatIsDueAndThenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTable(25)
		stop := run(t, b.sweep(time.Minute))
		if due, looks := b.state(); due != 0 || len(looks) != 3 || looks[2] != 0 || b.deadline != 3*time.Second {
			t.Errorf("%d left after looks at %v with %s each, want all 25 taken in three at once", due, looks, b.deadline)
		}
		b.set(5, nil)
		time.Sleep(90 * time.Second) //nolint:forbidigo // synctest's clock
		if due, looks := b.state(); due != 0 || looks[3] < 30*time.Second {
			t.Errorf("%d left after looks at %v, want one within 30 s and 90 s", due, looks)
		}
		stop()
	})
}

func TestWakeLooksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTable(0)
		s := b.sweep(time.Hour)
		stop := run(t, s)
		b.state()
		b.set(5, nil)
		s.Wake()
		s.Wake()
		if due, looks := b.state(); due != 0 {
			t.Errorf("%d left after Wake, looks at %v", due, looks)
		}
		stop()
		s.Wake() // and nobody is there
	})
}

// An error is logged once, tried again ever later, and its end logged too. Wake does
// not turn it into a busy loop.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTable(5)
		b.set(5, errors.New("the server is away"))
		s := b.sweep(250 * time.Millisecond)
		stop := run(t, s)
		for range 60 {
			s.Wake()
			time.Sleep(time.Second) //nolint:forbidigo // synctest's clock
		}
		_, looks := b.state()
		if n := len(looks); n < 9 || n > 30 {
			t.Errorf("%d looks in a minute that failed, want about one in 5 s: %v", n, looks)
		}
		b.set(5, nil)
		time.Sleep(10 * time.Second) //nolint:forbidigo // synctest's clock
		_, looks = b.state()
		log := b.log.String()
		if strings.Count(log, "level=WARN") != 1 || strings.Count(log, "sweep works again") != 1 || !strings.Contains(log, "sweep=test err=") {
			t.Errorf("logged %s", log)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // synctest's clock
		_, later := b.state()
		if n := len(later) - len(looks); n < 20 {
			t.Errorf("%d looks in 10 s after it works again, want the interval of before", n)
		}
		stop()
	})
}

// A batch that was begun is not cut short, and is the last.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batches := 0
		var cut error
		s := sweep.New(sweep.Config{Every: time.Second, Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler)},
			func(ctx context.Context) (bool, error) {
				batches++
				select {
				case <-ctx.Done():
					cut = ctx.Err()
				case <-time.After(2 * time.Second):
				}
				return true, nil
			})
		stop := run(t, s)
		time.Sleep(time.Second) //nolint:forbidigo // synctest's clock
		stop()
		if batches != 1 || cut != nil {
			t.Errorf("%d batches, cut by %v, want one that ends by itself", batches, cut)
		}
	})
}
