package workflowengine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/runtimestate"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtx"
)

const (
	giveBackTimeout = 2 * time.Second
	// shortestLook is the pause where something is due that somebody has locked.
	shortestLook = 5 * time.Millisecond
)

// claimUntil keeps the lease and takes what is due, until ctx ends. One goroutine does
// both, so that what is taken and not yet noted is never mistaken for lost.
func (s *store) claimUntil(ctx context.Context) {
	var renewed time.Time
	for ctx.Err() == nil {
		if time.Since(renewed) > s.cfg.Lease/4 {
			s.patiently(ctx, "renew lease", s.renew)
			renewed = time.Now()
		}
		next := s.cfg.Poll
		s.patiently(ctx, "claim", func(ctx context.Context) (err error) {
			next, err = s.claim(ctx)
			return err
		})
		s.pause(ctx, min(next, s.cfg.Poll))
	}
}

func (s *store) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

// renew renews the lease, and frees what nobody works at: what processes have whose
// lease has ended, and what this one has by the table but does not know of, since an
// answer of the database was lost.
func (s *store) renew(ctx context.Context) error {
	instances, tasks := s.held()
	return pgtx.RunPiped(ctx, s.pool, func(_ context.Context, tx *pgtx.Tx) error {
		tx.Last(`
			insert into workflow_workers (id, alive_until) values ($1, clock_timestamp() + $2::interval)
			on conflict (id) do update set alive_until = excluded.alive_until`, s.worker, s.cfg.Lease)
		tx.Last(`
			update workflow_instances set worker = null, due_at = now()
			where id in (
				select id from workflow_instances i
				where worker is not null and `+abandoned+` and not (worker = $1 and id = any($2))
				for no key update skip locked)`, s.worker, instances)
		tx.Last(`
			update workflow_tasks set worker = null, due_at = now()
			where id in (
				select id from workflow_tasks i
				where worker is not null and `+abandoned+` and not (worker = $1 and id = any($2))
				for no key update skip locked)`, s.worker, tasks)
		return nil
	})
}

// abandoned holds for what row i's process has ceased to work at, and for all that is
// this one's.
const abandoned = `(worker = $1 or not exists (
	select from workflow_workers w where w.id = i.worker and w.alive_until > clock_timestamp()))`

func (s *store) held() (instances []string, tasks []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq([]string{}, maps.Keys(s.heldTurns)), slices.AppendSeq([]int64{}, maps.Keys(s.heldTasks))
}

// claimed is what one transaction took.
type claimed struct {
	turns map[string]*backend.WorkflowWorkItem
	inbox map[string][]int64
	past  map[string][]*backend.HistoryEvent
	tasks []*backend.ActivityWorkItem
	// faults are of what cannot be read. It is not handed over: the next renewal frees
	// it, and the rest goes on.
	faults []error
	next   *time.Duration // until something more is due
}

// claim takes as many due turns and activities as there is room for and hands them to
// the hub. It returns when to look again.
func (s *store) claim(ctx context.Context) (time.Duration, error) {
	instances, tasks := s.held()
	turnsRoom, tasksRoom := s.cfg.Workflows-len(instances), s.cfg.Activities-len(tasks)
	if turnsRoom == 0 && tasksRoom == 0 {
		return s.cfg.Poll, nil // the end of one wakes
	}
	var c claimed
	err := pgtx.RunPiped(ctx, s.pool, func(_ context.Context, tx *pgtx.Tx) error {
		c = claimed{turns: map[string]*backend.WorkflowWorkItem{}, inbox: map[string][]int64{}, past: map[string][]*backend.HistoryEvent{}}
		tx.Last(claimTurns, s.worker, turnsRoom, instances).Query(c.readTurns)
		tx.Last(claimTasks, s.worker, tasksRoom, tasks).Query(c.readTasks)
		// Statements of their own: they see what was committed until the rows were locked.
		tx.Last(readInbox, s.worker, instances).Query(c.readInbox)
		tx.Last(readHistory, s.worker, instances).Query(c.readHistory)
		tx.Last(`select min(due_at) - clock_timestamp() from workflow_instances where worker is null and due_at is not null`).
			QueryRow(func(row pgx.Row) error { return row.Scan(&c.next) })
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("claim turns and activities: %w", err)
	}
	for _, err := range c.faults {
		s.log.ErrorContext(ctx, "workflow cannot be read, will try again", "err", err)
	}
	full := len(c.turns) == turnsRoom
	s.deliver(&c)
	if c.next == nil || full {
		return s.cfg.Poll, nil
	}
	return max(*c.next, shortestLook), nil
}

const (
	claimTurns = `
		with due as materialized (
			select id from workflow_instances
			where worker is null and due_at <= now() and id <> all ($3::text[])
			order by due_at limit $2 for no key update skip locked)
		update workflow_instances i set worker = $1, attempts = attempts + 1, due_at = null
		from due where i.id = due.id
		returning i.id, i.attempts`
	claimTasks = `
		with due as materialized (
			select id from workflow_tasks
			where worker is null and due_at <= now() and id <> all ($3::bigint[])
			order by due_at limit $2 for no key update skip locked)
		update workflow_tasks t set worker = $1, attempts = attempts + 1
		from due where t.id = due.id
		returning t.id, t.instance_id, t.event`
	readInbox = `
		select e.instance_id, e.id, e.event
		from workflow_instances i join workflow_inbox e on e.instance_id = i.id
		where i.worker = $1 and i.id <> all ($2::text[]) and e.visible_at <= now()
		order by e.instance_id, e.id`
	readHistory = `
		select e.instance_id, e.event
		from workflow_instances i join workflow_history e on e.instance_id = i.id
		where i.worker = $1 and i.id <> all ($2::text[])
		order by e.instance_id, e.seq`
)

func (c *claimed) readTurns(rows pgx.Rows) error {
	var id string
	var attempts int32
	_, err := pgx.ForEachRow(rows, []any{&id, &attempts}, func() error {
		c.turns[id] = &backend.WorkflowWorkItem{InstanceID: api.InstanceID(id), RetryCount: attempts - 1}
		return nil
	})
	return err
}

func (c *claimed) readTasks(rows pgx.Rows) error {
	var id int64
	var instance string
	var event []byte
	_, err := pgx.ForEachRow(rows, []any{&id, &instance, &event}, func() error {
		e, err := backend.UnmarshalHistoryEvent(event)
		if err != nil {
			c.faults = append(c.faults, fmt.Errorf("activity %d of workflow %s: %w", id, instance, err))
			return nil
		}
		c.tasks = append(c.tasks, &backend.ActivityWorkItem{SequenceNumber: id, InstanceID: api.InstanceID(instance), NewEvent: e})
		return nil
	})
	return err
}

func (c *claimed) readInbox(rows pgx.Rows) error {
	var id string
	var n int64
	var event []byte
	_, err := pgx.ForEachRow(rows, []any{&id, &n, &event}, func() error {
		item := c.turns[id]
		if item == nil {
			return nil // not taken just now: the next renewal frees it
		}
		e, err := backend.UnmarshalHistoryEvent(event)
		if err != nil {
			c.spoil(id, err)
			return nil
		}
		item.NewEvents = append(item.NewEvents, e)
		c.inbox[id] = append(c.inbox[id], n)
		return nil
	})
	return err
}

func (c *claimed) readHistory(rows pgx.Rows) error {
	var id string
	var event []byte
	_, err := pgx.ForEachRow(rows, []any{&id, &event}, func() error {
		e, err := backend.UnmarshalHistoryEvent(event)
		if err != nil {
			c.spoil(id, err)
			return nil
		}
		c.past[id] = append(c.past[id], e)
		return nil
	})
	return err
}

func (c *claimed) spoil(id string, err error) {
	delete(c.turns, id)
	c.faults = append(c.faults, fmt.Errorf("workflow %s: %w", id, err))
}

// deliver hands over what was taken. The channels have room for all that may be held.
func (s *store) deliver(c *claimed) {
	s.mu.Lock()
	for id := range c.turns {
		s.heldTurns[id] = c.inbox[id]
	}
	for _, t := range c.tasks {
		s.heldTasks[t.SequenceNumber] = struct{}{}
	}
	s.mu.Unlock()
	for id, item := range c.turns {
		item.State = runtimestate.NewWorkflowRuntimeState(id, nil, c.past[id])
		s.turns <- item
	}
	for _, t := range c.tasks {
		s.tasks <- t
	}
}

// drop forgets what is no longer held, which makes room.
func (s *store) dropTurn(id string) {
	s.mu.Lock()
	delete(s.heldTurns, id)
	s.mu.Unlock()
	s.hurry()
}

func (s *store) dropTask(id int64) {
	s.mu.Lock()
	delete(s.heldTasks, id)
	s.mu.Unlock()
	s.hurry()
}

// giveBack frees all that is held at the end, so that the next process need not wait
// for the lease to end.
func (s *store) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	err := pgtx.RunPiped(ctx, s.pool, func(_ context.Context, tx *pgtx.Tx) error {
		tx.Last(`update workflow_instances set worker = null, due_at = now() where worker = $1`, s.worker)
		tx.Last(`update workflow_tasks set worker = null, due_at = now() where worker = $1`, s.worker)
		tx.Last(`delete from workflow_workers where id = $1`, s.worker)
		tx.Last(`delete from workflow_workers where alive_until < now() - interval '1 hour'`) // of those that were killed
		return nil
	})
	if err != nil {
		s.log.WarnContext(ctx, "turns and activities not given back, others take them when the lease ends", "lease", s.cfg.Lease.String(), "err", err)
	}
}
