package workflowengine

import (
	"context"
	"fmt"
	"time"

	"github.com/dapr/durabletask-go/api/helpers"
	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/runtimestate"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtx"
)

// turn is a turn that has ended, and what became of saving it.
type turn struct {
	item  *backend.WorkflowWorkItem
	inbox []int64 // the events that it has dealt with
	err   error
}

// result is an activity that has ended.
type result struct {
	item *backend.ActivityWorkItem
	err  error
}

// lockRows locks instances in one order for all, so that batches of two processes, or
// of turns and of results, never wait for each other in a circle.
const lockRows = `select id, worker = $2 from workflow_instances where id = any($1) order by id for no key update`

// saveTurns saves turns in one transaction: their history, and the activities and
// timers that they began. A turn that is not this process's any more is not saved.
func (s *store) saveTurns(ctx context.Context, turns []*turn) {
	ids := make([]string, len(turns))
	for i, t := range turns {
		ids[i] = string(t.item.InstanceID)
	}
	var ours map[string]bool
	err := within(ctx, saveTimeout, func(ctx context.Context) error {
		return pgtx.RunPiped(ctx, s.pool, func(ctx context.Context, tx *pgtx.Tx) (err error) {
			if ours, err = s.lock(ctx, tx, ids); err != nil {
				return err
			}
			var c changes
			for _, t := range turns {
				if !ours[string(t.item.InstanceID)] {
					continue
				}
				if err := c.add(t, time.Now()); err != nil {
					return err
				}
			}
			c.save(tx)
			return nil
		})
	})
	for _, t := range turns {
		switch {
		case err != nil:
			t.err = fmt.Errorf("save turn: %w", err)
		case !ours[string(t.item.InstanceID)]:
			t.err = backend.ErrWorkItemLockLost
		}
	}
}

// lock locks instances and reports which are this process's.
func (s *store) lock(ctx context.Context, tx *pgtx.Tx, ids []string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, lockRows, ids, s.worker)
	if err != nil {
		return nil, fmt.Errorf("lock workflows: %w", err)
	}
	ours := make(map[string]bool, len(ids))
	var id string
	var our *bool
	_, err = pgx.ForEachRow(rows, []any{&id, &our}, func() error {
		ours[id] = our != nil && *our
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock workflows: %w", err)
	}
	return ours, nil
}

// changes are what turns change, as columns.
type changes struct {
	instances, statuses []string
	custom              []*string
	completed           []bool

	ended, renewed []string // instances whose waiting work, or whose history, is dropped

	doneOf []string // events dealt with
	done   []int64

	historyOf []string
	seqs      []int32
	history   [][]byte

	tasksOf []string
	tasks   [][]byte

	timersOf []string
	delays   []time.Duration
	timers   [][]byte
}

func (c *changes) add(t *turn, now time.Time) error {
	id, state := string(t.item.InstanceID), t.item.State
	c.instances = append(c.instances, id)
	c.statuses = append(c.statuses, helpers.ToRuntimeStatusString(runtimestate.RuntimeStatus(state)))
	var custom *string
	if state.GetCustomStatus() != nil {
		custom = &state.CustomStatus.Value
	}
	c.custom = append(c.custom, custom)
	ended := runtimestate.IsCompleted(state)
	c.completed = append(c.completed, ended)
	for _, n := range t.inbox {
		c.doneOf, c.done = append(c.doneOf, id), append(c.done, n)
	}
	if state.GetContinuedAsNew() {
		c.renewed = append(c.renewed, id)
	}
	for i, e := range state.GetNewEvents() {
		event, err := backend.MarshalHistoryEvent(e)
		if err != nil {
			return err
		}
		c.historyOf, c.history = append(c.historyOf, id), append(c.history, event)
		c.seqs = append(c.seqs, int32(len(state.GetOldEvents())+i)) //nolint:gosec // a history has some dozens
	}
	if ended {
		c.ended = append(c.ended, id)
		return nil
	}
	return c.addWork(id, t.item, now)
}

// addWork adds what the turn began.
func (c *changes) addWork(id string, item *backend.WorkflowWorkItem, now time.Time) error {
	for _, e := range item.State.GetPendingTasks() {
		event, err := backend.MarshalHistoryEvent(e)
		if err != nil {
			return err
		}
		c.tasksOf, c.tasks = append(c.tasksOf, id), append(c.tasks, event)
	}
	for _, e := range item.State.GetPendingTimers() {
		event, err := backend.MarshalHistoryEvent(e)
		if err != nil {
			return err
		}
		c.timersOf, c.timers = append(c.timersOf, id), append(c.timers, event)
		// As a span, since the clock of the database is another.
		c.delays = append(c.delays, max(e.GetTimerFired().GetFireAt().AsTime().Sub(now), 0))
	}
	return nil
}

// save queues the statements; only those that have something to do.
func (c *changes) save(tx *pgtx.Tx) {
	if len(c.done) > 0 {
		tx.Last(`
			delete from workflow_inbox i using unnest($1::text[], $2::bigint[]) d (instance_id, id)
			where i.instance_id = d.instance_id and i.id = d.id`, c.doneOf, c.done)
	}
	if len(c.renewed) > 0 {
		tx.Last(`delete from workflow_history where instance_id = any($1)`, c.renewed)
	}
	if len(c.ended) > 0 {
		tx.Last(`delete from workflow_inbox where instance_id = any($1)`, c.ended)
		tx.Last(`delete from workflow_tasks where instance_id = any($1)`, c.ended)
	}
	if len(c.history) > 0 {
		tx.Last(`
			insert into workflow_history (instance_id, seq, event)
			select h.instance_id, h.seq, h.event from unnest($1::text[], $2::integer[], $3::bytea[]) h (instance_id, seq, event)`,
			c.historyOf, c.seqs, c.history)
	}
	if len(c.tasks) > 0 {
		tx.Last(`
			insert into workflow_tasks (instance_id, event)
			select t.instance_id, t.event from unnest($1::text[], $2::bytea[]) t (instance_id, event)`, c.tasksOf, c.tasks)
	}
	if len(c.timers) > 0 {
		tx.Last(`
			insert into workflow_inbox (instance_id, visible_at, event)
			select t.instance_id, now() + t.delay, t.event
			from unnest($1::text[], $2::interval[], $3::bytea[]) t (instance_id, delay, event)`, c.timersOf, c.delays, c.timers)
	}
	if len(c.instances) > 0 {
		tx.Last(`
			update workflow_instances i
			set worker = null, attempts = 0, status = s.status, custom_status = s.custom,
				completed_at = case when s.completed then now() end,
				due_at = (select min(e.visible_at) from workflow_inbox e where e.instance_id = i.id)
			from unnest($1::text[], $2::text[], $3::text[], $4::boolean[]) s (id, status, custom, completed)
			where i.id = s.id`, c.instances, c.statuses, c.custom, c.completed)
	}
}

// saveResults puts the results of activities into the inboxes of their workflows, in
// one transaction. One that is not this process's any more, or whose workflow has
// ended, changes nothing.
func (s *store) saveResults(ctx context.Context, results []*result) {
	of, ids, events := make([]string, len(results)), make([]int64, len(results)), make([][]byte, len(results))
	for i, r := range results {
		event, err := backend.MarshalHistoryEvent(r.item.Result)
		if err != nil { // it comes from an answer that was just decoded
			r.err = err
			continue
		}
		of[i], ids[i], events[i] = string(r.item.InstanceID), r.item.SequenceNumber, event
	}
	var ours map[int64]bool
	err := within(ctx, saveTimeout, func(ctx context.Context) error {
		return pgtx.RunPiped(ctx, s.pool, func(ctx context.Context, tx *pgtx.Tx) error {
			ours = make(map[int64]bool, len(ids))
			if _, err := s.lock(ctx, tx, of); err != nil {
				return err
			}
			tx.Last(saveResults, ids, events, s.worker).Query(func(rows pgx.Rows) error {
				var id int64
				_, err := pgx.ForEachRow(rows, []any{&id}, func() error { ours[id] = true; return nil })
				return err
			})
			return nil
		})
	})
	for _, r := range results {
		switch {
		case r.err != nil:
		case err != nil:
			r.err = fmt.Errorf("save the result of an activity: %w", err)
		case !ours[r.item.SequenceNumber]:
			r.err = backend.ErrWorkItemLockLost
		}
	}
}

const saveResults = `
	with done as (
		delete from workflow_tasks t using unnest($1::bigint[], $2::bytea[]) r (id, event)
		where t.id = r.id and t.worker is not distinct from $3
		returning t.id, t.instance_id, r.event),
	told as (
		insert into workflow_inbox (instance_id, visible_at, event)
		select d.instance_id, now(), d.event from done d join workflow_instances i on i.id = d.instance_id
		where i.completed_at is null
		returning instance_id),
	woken as (
		update workflow_instances set due_at = least(due_at, now()) where id in (select instance_id from told))
	select id from done`
