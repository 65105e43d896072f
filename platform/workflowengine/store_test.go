package workflowengine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/runtimestate"
	"google.golang.org/protobuf/types/known/timestamppb"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func started(id string) *backend.HistoryEvent {
	return &backend.HistoryEvent{EventId: -1, Timestamp: timestamppb.Now(), EventType: &protos.HistoryEvent_ExecutionStarted{
		ExecutionStarted: &protos.ExecutionStartedEvent{Name: "x", WorkflowInstance: &protos.WorkflowInstance{InstanceId: id}},
	}}
}

func raised(name string) *backend.HistoryEvent {
	return &backend.HistoryEvent{EventId: -1, Timestamp: timestamppb.Now(), EventType: &protos.HistoryEvent_EventRaised{
		EventRaised: &protos.EventRaisedEvent{Name: name},
	}}
}

func scheduled() *backend.HistoryEvent {
	return &backend.HistoryEvent{Timestamp: timestamppb.Now(), EventType: &protos.HistoryEvent_TaskScheduled{
		TaskScheduled: &protos.TaskScheduledEvent{Name: "a"},
	}}
}

func taskDone() *backend.HistoryEvent {
	return &backend.HistoryEvent{EventId: -1, Timestamp: timestamppb.Now(), EventType: &protos.HistoryEvent_TaskCompleted{
		TaskCompleted: &protos.TaskCompletedEvent{},
	}}
}

func (s *store) must(t *testing.T, do func(context.Context) error) {
	t.Helper()
	if err := do(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// take claims and returns the turn that was due, or nil.
func (s *store) take(t *testing.T) *backend.WorkflowWorkItem {
	t.Helper()
	if _, err := s.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case item := <-s.turns:
		return item
	default:
		return nil
	}
}

func (s *store) takeTask(t *testing.T) *backend.ActivityWorkItem {
	t.Helper()
	if _, err := s.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case item := <-s.tasks:
		return item
	default:
		return nil
	}
}

// finish saves a turn that began tasks.
func (s *store) finish(ctx context.Context, item *backend.WorkflowWorkItem, tasks ...*backend.HistoryEvent) error {
	for _, err := range runtimestate.AddEvents(item.State, item.NewEvents) {
		if err != nil {
			return err
		}
	}
	item.State.PendingTasks = tasks
	return s.CompleteWorkflowWorkItem(ctx, item)
}

// saving has the store save, but not claim by itself.
func (s *store) saving(t *testing.T) *store {
	t.Helper()
	servicetest.Run(t, s.saves.Run)
	servicetest.Run(t, s.results.Run)
	return s
}

// endLease is what the time does.
func endLease(t *testing.T, s *store) {
	t.Helper()
	servicetest.Exec(t, s.pool, `update workflow_workers set alive_until = clock_timestamp() where id = $1`, s.worker)
}

// What a process that is gone had is taken by another when the lease ends, and what
// the first comes with after all is refused.
func TestLeaseEnds(t *testing.T) {
	pool := open(t)
	a, b := newStoreOn(t, pool, Config{Lease: time.Hour}).saving(t), newStoreOn(t, pool, Config{}).saving(t)
	a.must(t, a.renew)
	b.must(t, b.renew)
	a.must(t, func(ctx context.Context) error { return a.CreateWorkflowInstance(ctx, started("turn")) })
	turn := a.take(t)
	if turn == nil {
		t.Fatal("nothing to take")
	}
	b.must(t, b.renew)
	if b.take(t) != nil {
		t.Fatal("another process takes what one works at")
	}
	endLease(t, a)
	b.must(t, b.renew)
	second := b.take(t)
	if second == nil {
		t.Fatal("nobody takes what a process had whose lease has ended")
	}
	if err := a.finish(t.Context(), turn); !errors.Is(err, backend.ErrWorkItemLockLost) {
		t.Errorf("the first saves its turn: %v, want it refused", err)
	}
	_ = a.AbandonWorkflowWorkItem(t.Context(), turn)
	if err := b.finish(t.Context(), second, scheduled()); err != nil {
		t.Fatal(err)
	}
	if n := number(t, pool, `select count(*) from workflow_history`); n != 1 {
		t.Errorf("the history has %d events, want the one start", n)
	}

	a.must(t, a.renew)
	task := a.takeTask(t)
	endLease(t, a)
	b.must(t, b.renew)
	again := b.takeTask(t)
	if again == nil {
		t.Fatal("nobody takes the activity of a process whose lease has ended")
	}
	task.Result, again.Result = taskDone(), taskDone()
	if err := a.CompleteActivityWorkItem(t.Context(), task); !errors.Is(err, backend.ErrWorkItemLockLost) {
		t.Errorf("the first saves its result: %v, want it refused", err)
	}
	if err := b.CompleteActivityWorkItem(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if n := number(t, pool, `select count(*) from workflow_inbox`); n != 1 {
		t.Errorf("%d results, want one", n)
	}
}

// What was taken in a transaction whose answer was lost is freed; what is worked at
// is not.
func TestLostAnswers(t *testing.T) {
	pool := open(t)
	s := newStoreOn(t, pool, Config{})
	for _, id := range []string{"lost", "kept"} {
		s.must(t, func(ctx context.Context) error { return s.CreateWorkflowInstance(ctx, started(id)) })
		if s.take(t) == nil {
			t.Fatal("nothing to take")
		}
	}
	delete(s.heldTurns, "lost")
	s.must(t, s.renew)
	if item := s.take(t); item == nil || item.InstanceID != "lost" || len(item.NewEvents) != 1 {
		t.Errorf("took %+v, want what was lost", item)
	}
	if item := s.take(t); item != nil {
		t.Errorf("took %s twice", item.InstanceID)
	}
}

// What comes while a turn runs is for the next one, once.
func TestEventsDuringATurn(t *testing.T) {
	s := newStoreOn(t, open(t), Config{}).saving(t)
	s.must(t, func(ctx context.Context) error { return s.CreateWorkflowInstance(ctx, started("id")) })
	for turn, past := range []int{0, 1, 3} {
		item := s.take(t)
		if item == nil || len(item.State.GetOldEvents()) != past || turn > 0 && (len(item.NewEvents) != 2 || item.NewEvents[0].GetEventRaised().GetName() != "a") {
			t.Fatalf("turn %d is %+v", turn, item)
		}
		for _, name := range []string{"a", "b"} {
			s.must(t, func(ctx context.Context) error { return s.AddNewWorkflowEvent(ctx, "id", raised(name)) })
		}
		if s.take(t) != nil {
			t.Fatalf("turn %d has not ended, and the next begins", turn)
		}
		s.must(t, func(ctx context.Context) error { return s.finish(ctx, item) })
	}
	s.must(t, func(ctx context.Context) error { return s.finish(ctx, s.take(t)) })
	if item := s.take(t); item != nil {
		t.Errorf("a turn without events: %+v", item)
	}
}

// An event for a workflow whose start is still to come waits for the start.
func TestEventBeforeTheStart(t *testing.T) {
	pool := open(t)
	s := newStoreOn(t, pool, Config{})
	e := started("id")
	e.GetExecutionStarted().ScheduledStartTimestamp = timestamppb.New(time.Now().Add(300 * time.Millisecond))
	s.must(t, func(ctx context.Context) error { return s.CreateWorkflowInstance(ctx, e) })
	s.must(t, func(ctx context.Context) error { return s.AddNewWorkflowEvent(ctx, "id", raised("early")) })
	var item *backend.WorkflowWorkItem
	servicetest.Await(t, "start", func() bool { item = s.take(t); return item != nil })
	if len(item.NewEvents) != 2 || item.NewEvents[0].GetExecutionStarted() == nil {
		t.Errorf("the first turn has %+v, want start and event", item.NewEvents)
	}
}

// A turn that fails is tried again, later each time.
func TestAbandoned(t *testing.T) {
	pool := open(t)
	s := newStoreOn(t, pool, Config{})
	s.must(t, func(ctx context.Context) error { return s.CreateWorkflowInstance(ctx, started("id")) })
	s.must(t, func(ctx context.Context) error { return s.AbandonWorkflowWorkItem(ctx, s.take(t)) })
	item := s.take(t)
	if item == nil || item.RetryCount != 1 {
		t.Fatalf("given up once, it is %+v", item)
	}
	item.RetryCount = 60 // of which the test does not see the end
	s.must(t, func(ctx context.Context) error { return s.AbandonWorkflowWorkItem(ctx, item) })
	if s.take(t) != nil {
		t.Error("given up many times, it is due at once")
	}
	if n := number(t, pool, `select count(*) from workflow_instances where due_at between now() and now() + interval '1 minute'`); n != 1 {
		t.Error("given up many times, it is not due within a minute")
	}
}

// plansOf runs every statement that works on many rows.
func plansOf(t *testing.T, kit *service.Kit) {
	s := newStoreOn(t, kit.Pool, Config{}).saving(t)
	ctx := t.Context()
	s.must(t, s.renew)
	s.must(t, func(ctx context.Context) error { return s.CreateWorkflowInstance(ctx, started("id")) })
	s.must(t, func(ctx context.Context) error { return s.finish(ctx, s.take(t), scheduled()) })
	s.must(t, func(ctx context.Context) error { return s.AddNewWorkflowEvent(ctx, "id", raised("x")) })
	task := s.takeTask(t)
	s.must(t, func(ctx context.Context) error { return s.AbandonActivityWorkItem(ctx, task) })
	task = s.takeTask(t)
	task.Result = taskDone()
	s.must(t, func(ctx context.Context) error { return s.CompleteActivityWorkItem(ctx, task) })
	s.must(t, s.purgeEnded)
	if _, err := s.GetWorkflowMetadata(ctx, api.InstanceID("id")); err != nil {
		t.Error(err)
	}
	if _, err := s.PurgeWorkflowState(ctx, "id", nil, true); err != nil {
		t.Error(err)
	}
	s.giveBack(ctx)
}
