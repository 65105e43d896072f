package outbox

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	settleEvery   = 250 * time.Millisecond
	settleBatch   = 2_000
	settleTimeout = 3 * time.Second
	// maxUnsettled bounds the rows remembered while PostgreSQL does not remove them:
	// what is forgotten is published again, under the same id.
	maxUnsettled = 100_000
)

// settlement brings the table up to date some time later, many rows at once: it
// deletes those published and marks those refused. What is lost of it costs a
// repetition.
type settlement struct {
	pool  *pgxpool.Pool
	lease time.Duration

	mu      sync.Mutex
	removed []row
	refused []row
	closed  chan struct{}
}

func newSettlement(pool *pgxpool.Pool, lease time.Duration) *settlement {
	return &settlement{pool: pool, lease: lease, closed: make(chan struct{})}
}

func (s *settlement) remove(rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, rows[:min(len(rows), maxUnsettled-len(s.removed))]...)
}

func (s *settlement) refuse(rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, rows[:min(len(rows), maxUnsettled-len(s.refused))]...)
}

func (s *settlement) close() { close(s.closed) }

func (s *settlement) run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.flush(ctx, log)
		case <-s.closed:
			s.flush(context.WithoutCancel(ctx), log)
			return
		}
	}
}

// flush settles all rows there are. Removals it fails on wait for the next time.
func (s *settlement) flush(ctx context.Context, log *slog.Logger) {
	s.mu.Lock()
	removed, refused := s.removed, s.refused
	s.removed, s.refused = nil, nil
	s.mu.Unlock()
	left, err := settle(ctx, removed, func(ctx context.Context, rows []row) error {
		return remove(ctx, s.pool, rows)
	})
	if err != nil {
		log.WarnContext(ctx, "published events stay in the outbox for now", "events", len(left), "err", err)
		s.mu.Lock()
		s.removed = append(left, s.removed[:min(len(s.removed), maxUnsettled-len(left))]...)
		s.mu.Unlock()
		return // what was refused is tried again soon
	}
	left, err = settle(ctx, refused, func(ctx context.Context, rows []row) error {
		return refuse(ctx, s.pool, s.lease, rows)
	})
	if err != nil {
		log.WarnContext(ctx, "events that the broker refused are tried again soon", "events", len(left), "err", err)
	}
}

// settle has f done with all rows, some at a time, and returns those that it was
// not done with.
func settle(ctx context.Context, rows []row, f func(context.Context, []row) error) ([]row, error) {
	for len(rows) > 0 {
		n := min(len(rows), settleBatch)
		tctx, cancel := context.WithTimeout(ctx, settleTimeout)
		err := f(tctx, rows[:n])
		cancel()
		if err != nil {
			return rows, err
		}
		rows = rows[n:]
	}
	return nil, nil
}
