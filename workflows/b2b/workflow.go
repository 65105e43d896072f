package b2b

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/task"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
)

// Names under which workflow and activities are registered and recorded in
// histories: they never change.
const (
	workflowName = "b2b.order"

	stepCredit   = "credit"
	stepApproval = "approval"
	stepAllocate = "allocate"
	stepERP      = "erp"
	stepConfirm  = "confirm"

	activityHear    = "approval.hear"
	activityAdvance = "approval.advance"
	activityStuck   = "stuck"
	activityEnd     = "end"

	eventApproval = "manager.approval"
	eventResume   = "b2b.resume"
)

// undo names the activity that undoes a step.
func undo(step string) string { return "undo." + step }

// Input of the workflow. The trace goes with it, so that one trace leads from the
// request to the ERP.
type Input struct {
	OrderID     uuid.UUID `json:"order_id"`
	TraceParent string    `json:"traceparent"`
	// Attempts at a step that calls others before it is given up.
	Attempts int `json:"attempts"`
}

// Request is what every activity gets.
type Request struct {
	Input
	// Verdict is why an order is undone and ended.
	Verdict *Verdict `json:"verdict,omitempty"`
	// Event is the payload of an external event.
	Event json.RawMessage `json:"event,omitempty"`
	// Step that is stuck, and on what.
	Step  string `json:"step,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// runOrder is the saga of a company's order. It is replayed from its history: no
// clock, no randomness, no I/O but through activities. Every activity is
// idempotent and its outcome recorded in PostgreSQL, so that even a saga that is
// started again ends as the first would have.
func runOrder(ctx *workflow.WorkflowContext) (any, error) {
	var in Input
	if err := ctx.GetInput(&in); err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	s := &saga{ctx: ctx, in: in}
	return s.run()
}

type saga struct {
	ctx  *workflow.WorkflowContext
	in   Input
	undo []string // compensations of the steps begun, first to last
	gate GateView // as it was last seen
}

func (s *saga) run() (Verdict, error) {
	for _, step := range []func() (Verdict, error){
		s.holdCredit,
		s.awaitApproval,
		s.allocateStock,
		s.confirmByERP,
	} {
		v, err := step()
		if err != nil {
			v = refused(Failed, reasonStep, "The order could not be carried out.") // the step keeps the cause
		}
		if !v.OK {
			return v, s.compensate(v)
		}
	}
	return fine, nil
}

// holdCredit also opens the approval gate.
func (s *saga) holdCredit() (Verdict, error) {
	s.undoable(stepCredit)
	gate, err := call[GateView](s, stepCredit, Request{}, local)
	s.gate = gate
	if err != nil || gate.Verdict == nil {
		return fine, err
	}
	return *gate.Verdict, nil
}

// awaitApproval waits until the gate is decided. The decision is made in
// PostgreSQL; an event only tells that there is something to see there.
func (s *saga) awaitApproval() (v Verdict, err error) {
	for s.gate.Verdict == nil {
		if s.gate, err = s.awaitNews(); err != nil {
			return v, err
		}
	}
	return *s.gate.Verdict, nil
}

func (s *saga) awaitNews() (GateView, error) {
	var news json.RawMessage
	wait := max(s.gate.Until.Sub(s.ctx.CurrentTimeUTC()), 10*time.Millisecond)
	err := s.ctx.WaitForExternalEvent(eventApproval, wait).Await(&news)
	if errors.Is(err, task.ErrTaskCanceled) {
		return call[GateView](s, activityAdvance, Request{}, local)
	}
	return call[GateView](s, activityHear, Request{Event: news}, local)
}

// allocateStock has nothing left to do where the gate, once passed, led on to it.
func (s *saga) allocateStock() (Verdict, error) {
	s.undoable(stepAllocate)
	if s.gate.Allocated != nil {
		return *s.gate.Allocated, nil
	}
	return call[Verdict](s, stepAllocate, Request{}, remote)
}

// confirmByERP confirms the order in the transaction that notes the ERP's answer.
func (s *saga) confirmByERP() (Verdict, error) {
	s.undoable(stepERP)
	return call[Verdict](s, stepERP, Request{}, remote)
}

// undoable notes a step's compensation before the step is begun: one that failed
// may have had its effect all the same.
func (s *saga) undoable(step string) { s.undo = append(s.undo, undo(step)) }

// compensate undoes the steps in reverse and ends the order. A compensation that
// keeps failing stops there, for everybody to see, until somebody resumes it.
func (s *saga) compensate(why Verdict) error {
	for _, step := range slices.Backward(s.undo) {
		for {
			_, err := call[Verdict](s, step, Request{Verdict: &why}, remote)
			if err == nil {
				break
			}
			if err := s.awaitResume(step, err); err != nil {
				return err
			}
		}
	}
	_, err := call[Verdict](s, activityEnd, Request{Verdict: &why}, local)
	return err
}

func (s *saga) awaitResume(step string, cause error) error {
	if _, err := call[Verdict](s, activityStuck, Request{Step: step, Cause: cause.Error()}, local); err != nil {
		return err
	}
	return s.ctx.WaitForExternalEvent(eventResume, -1).Await(nil)
}

// Retries of activities. Those on our own database go on for as long as it takes;
// those that call others give up in the end, and the order is undone.
func local(Input) *workflow.RetryPolicy {
	return &workflow.RetryPolicy{
		MaxAttempts: 1 << 20, InitialRetryInterval: 200 * time.Millisecond,
		BackoffCoefficient: 2, MaxRetryInterval: 5 * time.Second,
	}
}

func remote(in Input) *workflow.RetryPolicy {
	return &workflow.RetryPolicy{
		MaxAttempts: in.Attempts, InitialRetryInterval: 300 * time.Millisecond,
		BackoffCoefficient: 1.7, MaxRetryInterval: 10 * time.Second,
	}
}

func call[T any](s *saga, activity string, req Request, retry func(Input) *workflow.RetryPolicy) (T, error) {
	req.Input = s.in
	var result T
	err := s.ctx.CallActivity(activity,
		workflow.WithActivityInput(req), workflow.WithActivityRetryPolicy(retry(s.in))).Await(&result)
	return result, err
}
