// Package sweep looks again and again for work that is due in a table: what a timer
// asks for, and what a crash, an outage or a full queue left behind.
package sweep

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// maxBackoff is how long a sweep that fails waits at most, unless its interval is longer.
const maxBackoff = 5 * time.Second

// Config of a Sweep.
type Config struct {
	// Name says in the log what is swept.
	Name string
	// Every is the interval at which it looks when nothing is due, +-50 %, so that
	// replicas do not all look at once.
	Every time.Duration
	// Timeout bounds one batch.
	Timeout time.Duration
	Log     *slog.Logger
}

// Batch takes up one batch of what is due, and reports whether there may be more. A
// batch that was begun is not cut short when the process stops. Replicas run at the
// same time: it claims its rows, as with for update skip locked.
type Batch func(ctx context.Context) (more bool, err error)

// Sweep takes up due work in batches, until none is left.
type Sweep struct {
	cfg   Config
	batch Batch
	wake  chan struct{}
}

// New returns a Sweep. Run must be running for it to work.
func New(cfg Config, batch Batch) *Sweep {
	return &Sweep{cfg: cfg, batch: batch, wake: make(chan struct{}, 1)}
}

// Wake has it look now and not only after its interval, unless it waits after an error.
// It never blocks.
func (s *Sweep) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run looks at once, and then again and again until ctx ends and the batch under way
// has. While it fails, the first error is logged, and the wait grows.
func (s *Sweep) Run(ctx context.Context) error {
	failures, wait := 0, s.cfg.Every
	for {
		err := s.all(ctx)
		switch {
		case err == nil && failures > 0:
			s.cfg.Log.InfoContext(ctx, "sweep works again", "sweep", s.cfg.Name, "failures", failures)
			fallthrough
		case err == nil:
			failures, wait = 0, s.cfg.Every
		default:
			level := slog.LevelDebug
			if failures == 0 {
				level = slog.LevelWarn
			}
			s.cfg.Log.Log(ctx, level, "sweep failed, will try again", "sweep", s.cfg.Name, "err", err)
			failures++
			wait = max(s.cfg.Every, min(2*wait, maxBackoff))
		}
		if !s.pause(ctx, wait, failures == 0) {
			return nil
		}
	}
}

// all takes batches until none is left.
func (s *Sweep) all(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = s.once(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sweep) once(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	return s.batch(ctx)
}

// pause waits for about d, or until Wake, and reports whether to go on.
func (s *Sweep) pause(ctx context.Context, d time.Duration, wakes bool) bool {
	wake := s.wake
	if !wakes {
		wake = nil
	}
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // jitter needs no secrecy
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-wake:
	}
	return ctx.Err() == nil
}
