// Package group turns concurrent work into batches: what comes while a batch
// is being run shares the next one. An idle group runs what comes at once; only
// a busy one waits a little, so that a transaction carries more.
package group

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// ErrClosed says that the group has stopped taking work.
var ErrClosed = errors.New("shutting down, no longer taking work")

// Config of a Group. Zero values mean the defaults.
type Config struct {
	// Max is the number of items at which a batch is full. One submission is never
	// split, so that a batch may be larger. Default 200.
	Max int
	// Workers is how many batches run at once. Default 2.
	Workers int
	// Linger is how long a busy worker waits for more. Default 2 ms.
	Linger time.Duration
	// BusyAt is the size of batch that makes a worker busy, until it has had
	// nothing to do for some lingers. Default 8.
	BusyAt int
	// Queue bounds the submissions that wait. Default 1,024.
	Queue int
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Max, 200)
	def(&c.Workers, 2)
	def(&c.BusyAt, 8)
	def(&c.Queue, 1024)
	if c.Linger == 0 {
		c.Linger = 2 * time.Millisecond
	}
	return c
}

// pause is how many lingers without work make a busy worker an idle one.
const pause = 4

// Group batches items of type T. Results travel in the items, so T is a pointer
// as a rule.
type Group[T any] struct {
	cfg   Config
	run   func(context.Context, []T)
	queue chan *submission[T]
	done  chan struct{}
}

type submission[T any] struct {
	items []T
	done  chan struct{}
}

// New returns a group that hands its batches to run. Run must be running for it
// to work. run gets the context of Run.
func New[T any](cfg Config, run func(context.Context, []T)) *Group[T] {
	cfg = cfg.withDefaults()
	return &Group[T]{
		cfg: cfg, run: run,
		queue: make(chan *submission[T], cfg.Queue),
		done:  make(chan struct{}),
	}
}

// Do runs items in a batch and returns once that has ended. If ctx ends first,
// the items may or may not be run; they must not be touched again.
func (g *Group[T]) Do(ctx context.Context, items ...T) error {
	s := &submission[T]{items: items, done: make(chan struct{})}
	select {
	case <-g.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case g.queue <- s:
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.done:
		// The workers may have ended just before s was queued.
		select {
		case <-s.done:
			return nil
		default:
			return ErrClosed
		}
	}
}

// Waiting returns how many submissions wait for a worker.
func (g *Group[T]) Waiting() int { return len(g.queue) }

// Run works until ctx ends and everything queued by then is done.
func (g *Group[T]) Run(ctx context.Context) error {
	var workers errgroup.Group
	for range g.cfg.Workers {
		workers.Go(func() error { g.work(ctx); return nil })
	}
	err := workers.Wait()
	close(g.done)
	return err
}

func (g *Group[T]) work(ctx context.Context) {
	w := worker[T]{Group: g, timer: time.NewTimer(time.Hour)}
	defer w.timer.Stop()
	for {
		select {
		case s := <-g.queue:
			w.batch(ctx, s)
		case <-ctx.Done():
			select {
			case s := <-g.queue:
				w.batch(ctx, s)
			default:
				return
			}
		}
	}
}

type worker[T any] struct {
	*Group[T]
	timer *time.Timer
	items []T
	subs  []*submission[T]
	busy  bool
	ended time.Time // of the last batch
}

// batch runs first and whatever else is or comes in time.
func (w *worker[T]) batch(ctx context.Context, first *submission[T]) {
	w.items, w.subs = w.items[:0], w.subs[:0]
	w.take(first)
	w.drain()
	if w.busy && len(w.items) < w.cfg.Max && time.Since(w.ended) < pause*w.cfg.Linger {
		w.linger(ctx)
	}
	w.busy = len(w.items) >= w.cfg.BusyAt
	// A batch ends whatever it started, also when the process is stopping.
	w.run(context.WithoutCancel(ctx), w.items)
	for _, s := range w.subs {
		close(s.done)
	}
	w.ended = time.Now()
	clear(w.items) // or the batch would stay reachable until the next one
	clear(w.subs)
}

func (w *worker[T]) take(s *submission[T]) {
	w.items = append(w.items, s.items...)
	w.subs = append(w.subs, s)
}

func (w *worker[T]) drain() {
	for len(w.items) < w.cfg.Max {
		select {
		case s := <-w.queue:
			w.take(s)
		default:
			return
		}
	}
}

func (w *worker[T]) linger(ctx context.Context) {
	w.timer.Reset(w.cfg.Linger)
	for len(w.items) < w.cfg.Max {
		select {
		case s := <-w.queue:
			w.take(s)
		case <-w.timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
