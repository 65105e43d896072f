package workflowengine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/helpers"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/runtimestate"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"quadrille.internal/platform/pgtx"
)

const (
	releaseTimeout = 5 * time.Second
	shortestWatch  = 20 * time.Millisecond
	longestWatch   = 500 * time.Millisecond
)

// Errors with the codes that daprd answers with.
var (
	errDuplicate    = status.Error(codes.AlreadyExists, api.ErrDuplicateInstance.Error())
	errNotFound     = status.Error(codes.NotFound, api.ErrInstanceNotFound.Error())
	errNotCompleted = status.Error(codes.FailedPrecondition, api.ErrNotCompleted.Error())
	errNoChildren   = errors.New("this engine runs no child workflows and sends no events between workflows")
)

var _ backend.Backend = (*store)(nil)

// CreateTaskHub does nothing: the tables come with a migration.
func (s *store) CreateTaskHub(context.Context) error { return backend.ErrTaskHubExists }

// DeleteTaskHub is refused, for the tables are the owner's.
func (s *store) DeleteTaskHub(context.Context) error { return errors.ErrUnsupported }

// Start does nothing: Engine.Run runs the store.
func (s *store) Start(context.Context) error { return nil }

// Stop does nothing; see Start.
func (s *store) Stop(context.Context) error { return nil }

// String names the backend in the log.
func (s *store) String() string { return "PostgreSQL" }

// CreateWorkflowInstance begins a workflow. One that has ended is replaced, as with
// Dapr; one that runs is errDuplicate.
func (s *store) CreateWorkflowInstance(ctx context.Context, e *backend.HistoryEvent) error {
	start := e.GetExecutionStarted()
	event, err := backend.MarshalHistoryEvent(e)
	if err != nil {
		return err
	}
	id, delay := start.GetWorkflowInstance().GetInstanceId(), time.Duration(0)
	if at := start.GetScheduledStartTimestamp(); at != nil {
		delay = max(time.Until(at.AsTime()), 0)
	}
	err = within(ctx, saveTimeout, func(ctx context.Context) error {
		return pgtx.RunPiped(ctx, s.pool, func(ctx context.Context, tx *pgtx.Tx) error {
			const insert = `
				insert into workflow_instances (id, name, due_at) values ($1, $2, now() + $3::interval) on conflict (id) do nothing`
			tag, err := tx.Exec(ctx, insert, id, start.GetName(), delay)
			if err == nil && tag.RowsAffected() == 0 {
				if _, err = tx.Exec(ctx, `delete from workflow_instances where id = $1 and completed_at is not null`, id); err == nil {
					tag, err = tx.Exec(ctx, insert, id, start.GetName(), delay)
				}
			}
			if err != nil {
				return fmt.Errorf("create workflow: %w", err)
			}
			if tag.RowsAffected() == 0 {
				return errDuplicate
			}
			tx.Last(`insert into workflow_inbox (instance_id, visible_at, event) values ($1, now() + $2::interval, $3)`, id, delay, event)
			return nil
		})
	})
	if err == nil {
		s.hurry()
	}
	return err
}

// AddNewWorkflowEvent adds an event for the next turn. A workflow that waits for its
// start gets it with the start; one that has ended gets no more.
func (s *store) AddNewWorkflowEvent(ctx context.Context, id api.InstanceID, e *backend.HistoryEvent) error {
	event, err := backend.MarshalHistoryEvent(e)
	if err != nil {
		return err
	}
	var exists bool
	err = within(ctx, saveTimeout, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `
			with woken as (
				update workflow_instances
				set due_at = case when status = 'PENDING' then due_at else least(due_at, now()) end
				where id = $1 and completed_at is null
				returning id),
			told as (
				insert into workflow_inbox (instance_id, visible_at, event) select id, now(), $2 from woken)
			select exists (select from workflow_instances where id = $1)`, string(id), event).Scan(&exists)
	})
	if err != nil {
		return fmt.Errorf("add event: %w", err)
	}
	if !exists {
		return errNotFound
	}
	s.hurry()
	return nil
}

// NextWorkflowWorkItem waits for a turn.
func (s *store) NextWorkflowWorkItem(ctx context.Context) (*backend.WorkflowWorkItem, error) {
	select {
	case item := <-s.turns:
		return item, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// NextActivityWorkItem waits for an activity.
func (s *store) NextActivityWorkItem(ctx context.Context) (*backend.ActivityWorkItem, error) {
	select {
	case item := <-s.tasks:
		return item, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// CompleteWorkflowWorkItem saves a turn.
func (s *store) CompleteWorkflowWorkItem(ctx context.Context, item *backend.WorkflowWorkItem) error {
	if len(item.State.GetPendingMessages()) > 0 {
		return errNoChildren
	}
	s.mu.Lock()
	t := &turn{item: item, inbox: s.heldTurns[string(item.InstanceID)]}
	s.mu.Unlock()
	if err := s.saves.Do(context.WithoutCancel(ctx), t); err != nil {
		return err
	}
	if t.err != nil {
		return t.err
	}
	s.dropTurn(string(item.InstanceID))
	return nil
}

// AbandonWorkflowWorkItem has a turn done again, later each time.
func (s *store) AbandonWorkflowWorkItem(ctx context.Context, item *backend.WorkflowWorkItem) error {
	err := within(context.WithoutCancel(ctx), releaseTimeout, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `
			update workflow_instances set worker = null, due_at = now() + $3::interval where id = $1 and worker = $2`,
			string(item.InstanceID), s.worker, item.GetAbandonDelay())
		return err
	})
	s.dropTurn(string(item.InstanceID))
	return err
}

// CompleteActivityWorkItem saves the result of an activity.
func (s *store) CompleteActivityWorkItem(ctx context.Context, item *backend.ActivityWorkItem) error {
	r := &result{item: item}
	if err := s.results.Do(context.WithoutCancel(ctx), r); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	s.dropTask(item.SequenceNumber)
	return nil
}

// AbandonActivityWorkItem has an activity done again, later each time.
func (s *store) AbandonActivityWorkItem(ctx context.Context, item *backend.ActivityWorkItem) error {
	err := within(context.WithoutCancel(ctx), releaseTimeout, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `
			update workflow_tasks set worker = null, due_at = now() + least(attempts - 1, 60) * interval '1 second'
			where id = $1 and worker = $2`, item.SequenceNumber, s.worker)
		return err
	})
	s.dropTask(item.SequenceNumber)
	return err
}

// GetWorkflowRuntimeState returns what a workflow has come to.
func (s *store) GetWorkflowRuntimeState(ctx context.Context, item *backend.WorkflowWorkItem) (*backend.WorkflowRuntimeState, error) {
	history, err := s.history(ctx, string(item.InstanceID))
	if err != nil {
		return nil, err
	}
	return runtimestate.NewWorkflowRuntimeState(string(item.InstanceID), nil, history), nil
}

// GetInstanceHistory returns all that happened in a workflow.
func (s *store) GetInstanceHistory(ctx context.Context, req *backend.GetInstanceHistoryRequest) (*backend.GetInstanceHistoryResponse, error) {
	history, err := s.history(ctx, req.GetInstanceId())
	return &backend.GetInstanceHistoryResponse{Events: history}, err
}

func (s *store) history(ctx context.Context, id string) (history []*backend.HistoryEvent, err error) {
	err = within(ctx, saveTimeout, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, `select event from workflow_history where instance_id = $1 order by seq`, id)
		if err != nil {
			return err
		}
		history, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*backend.HistoryEvent, error) {
			var event []byte
			if err := row.Scan(&event); err != nil {
				return nil, err
			}
			return backend.UnmarshalHistoryEvent(event)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of workflow %s: %w", id, err)
	}
	return history, nil
}

// GetWorkflowMetadata returns the state of a workflow as clients see it.
func (s *store) GetWorkflowMetadata(ctx context.Context, id api.InstanceID) (*backend.WorkflowMetadata, error) {
	var name, state string
	var custom *string
	var created time.Time
	err := within(ctx, saveTimeout, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `select name, status, custom_status, created_at from workflow_instances where id = $1`, string(id)).
			Scan(&name, &state, &custom, &created)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, api.ErrInstanceNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read workflow %s: %w", id, err)
	}
	history, err := s.history(ctx, string(id))
	if err != nil {
		return nil, err
	}
	m := &backend.WorkflowMetadata{
		InstanceId: string(id), Name: name, RuntimeStatus: helpers.FromRuntimeStatusString(state),
		CreatedAt: timestamppb.New(created), LastUpdatedAt: timestamppb.New(created),
	}
	if custom != nil {
		m.CustomStatus = wrapperspb.String(*custom)
	}
	if len(history) == 0 {
		return m, nil
	}
	whole := runtimestate.NewWorkflowRuntimeState(string(id), nil, history)
	m.StartedAt, m.LastUpdatedAt = history[0].GetTimestamp(), whole.GetLastUpdatedTime()
	m.Input, m.Output = whole.GetStartEvent().GetInput(), whole.GetCompletedEvent().GetResult()
	m.FailureDetails = whole.GetCompletedEvent().GetFailureDetails()
	return m, nil
}

// WatchWorkflowRuntimeStatus looks until what is awaited is so.
func (s *store) WatchWorkflowRuntimeStatus(ctx context.Context, id api.InstanceID, isSo func(*backend.WorkflowMetadata) bool) error {
	for wait := shortestWatch; ; wait = min(wait*3/2, longestWatch) {
		m, err := s.GetWorkflowMetadata(ctx, id)
		if errors.Is(err, api.ErrInstanceNotFound) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		if isSo(m) {
			return nil
		}
		if err := pgtx.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// PurgeWorkflowState forgets a workflow that has ended, or any when forced.
func (s *store) PurgeWorkflowState(ctx context.Context, id api.InstanceID, _ *protos.TaskRouter, force bool) (int, error) {
	var purged, exists bool
	err := within(ctx, saveTimeout, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `
			with purged as (
				delete from workflow_instances where id = $1 and (completed_at is not null or $2) returning id)
			select exists (select from purged), exists (select from workflow_instances where id = $1)`, string(id), force).
			Scan(&purged, &exists)
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("purge workflow: %w", err)
	case purged:
		return 1, nil
	case exists:
		return 0, errNotCompleted
	default:
		return 0, errNotFound
	}
}

// RerunWorkflowFromEvent is not offered.
func (s *store) RerunWorkflowFromEvent(context.Context, *protos.RerunWorkflowFromEventRequest) (api.InstanceID, error) {
	return "", status.Error(codes.Unimplemented, "this engine does not rerun workflows")
}

// ListInstanceIDs is not offered: the service's own tables say which workflows it has.
func (s *store) ListInstanceIDs(context.Context, *protos.ListInstanceIDsRequest) (*protos.ListInstanceIDsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "this engine does not list workflows")
}
