package workflowengine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/local"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/platform/group"
	"quadrille.internal/platform/pgtx"
)

const (
	saveTimeout = 15 * time.Second
	// saveMax bounds the turns and the results of a transaction.
	saveMax = 64
	// Failures of the database are waited out with growing pauses.
	shortestPause = 100 * time.Millisecond
	longestPause  = 2 * time.Second
)

// store is the engine's backend on PostgreSQL. Many processes may share the tables: a
// turn or an activity belongs to the process that is named in its row, and what is
// saved by any other is refused. A process keeps what it has while it renews its
// lease; times are those of the database's clock.
type store struct {
	*local.TasksBackend // hands answers of the worker to those who wait for them

	cfg    Config
	pool   *pgxpool.Pool
	log    *slog.Logger
	worker uuid.UUID

	turns   chan *backend.WorkflowWorkItem
	tasks   chan *backend.ActivityWorkItem
	wake    chan struct{}
	saves   *group.Group[*turn]
	results *group.Group[*result]

	mu sync.Mutex
	// What this process has, whether it runs or waits in a channel. An instance is not
	// taken again before its turn has ended here, even if another process took it
	// away meanwhile: answers of workers are told apart by instance only.
	heldTurns map[string][]int64 // the events of the turn in the inbox, by instance
	heldTasks map[int64]struct{}
}

func newStore(cfg Config) *store {
	s := &store{
		TasksBackend: local.NewTasksBackend(),
		cfg:          cfg, pool: cfg.Pool, log: cfg.Log, worker: uuid.New(),
		turns:     make(chan *backend.WorkflowWorkItem, cfg.Workflows),
		tasks:     make(chan *backend.ActivityWorkItem, cfg.Activities),
		wake:      make(chan struct{}, 1),
		heldTurns: map[string][]int64{}, heldTasks: map[int64]struct{}{},
	}
	s.saves = group.New(group.Config{Max: saveMax}, s.saveTurns)
	s.results = group.New(group.Config{Max: saveMax}, s.saveResults)
	return s
}

// run claims until claims ends, saves until ctx does, and then gives back what it has.
func (s *store) run(ctx, claims context.Context) error {
	var all errgroup.Group
	all.Go(func() error { return s.saves.Run(ctx) })
	all.Go(func() error { return s.results.Run(ctx) })
	all.Go(func() error { s.purgeUntil(claims); return nil })
	s.claimUntil(claims)
	err := all.Wait()
	s.giveBack(ctx)
	return err
}

// hurry has the next look at once.
func (s *store) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// patiently repeats what the database fails, until it is done or ctx ends.
func (s *store) patiently(ctx context.Context, what string, do func(context.Context) error) {
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		err := within(ctx, saveTimeout, do)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.WarnContext(ctx, "workflow engine failed, will try again", "step", what, "err", err)
		if pgtx.Sleep(ctx, pause) != nil {
			return
		}
	}
}

func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}
