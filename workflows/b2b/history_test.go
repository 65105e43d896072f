package b2b

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"quadrille.internal/events/b2b"
)

// recording adds histories as today's code makes them. It never changes one that is
// there: orders with such a history may be waiting.
var recording = flag.Bool("record", false, "record the histories under testdata that are missing")

const histories = "testdata/histories"

// Today's code must go on with every history ever recorded as the code of its day
// did: at each turn it does the same.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(histories + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	e := startReplayer(t, &worker{log: slog.New(slog.DiscardHandler)})
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			past := []*protos.HistoryEvent{}
			for i, turn := range turns(readHistory(t, file)) {
				news, did := split(turn)
				if got, want := actions(e.execute(t, file, past, news)), outcomes(did); !slices.Equal(got, want) {
					t.Fatalf("turn %d does %v, but did %v", i+1, got, want)
				}
				past = append(past, turn...)
			}
		})
	}
}

// turns divides a history at each start of the code.
func turns(history []*protos.HistoryEvent) (list [][]*protos.HistoryEvent) {
	for _, e := range history {
		if e.GetWorkflowStarted() != nil {
			list = append(list, nil)
		}
		list[len(list)-1] = append(list[len(list)-1], e)
	}
	return list
}

// split divides a turn into what the code learnt and what it did.
func split(turn []*protos.HistoryEvent) (news, did []*protos.HistoryEvent) {
	for _, e := range turn {
		if outcome(e) == "" {
			news = append(news, e)
		} else {
			did = append(did, e)
		}
	}
	return news, did
}

// outcome names what the code did, or is "" for what it learnt.
func outcome(e *protos.HistoryEvent) string {
	switch {
	case e.GetTaskScheduled() != nil:
		return fmt.Sprint(e.GetEventId(), " calls ", e.GetTaskScheduled().GetName())
	case e.GetTimerCreated() != nil:
		return fmt.Sprint(e.GetEventId(), " sets a timer")
	case e.GetExecutionCompleted() != nil:
		return fmt.Sprint("ends ", e.GetExecutionCompleted().GetWorkflowStatus())
	default:
		return ""
	}
}

func outcomes(did []*protos.HistoryEvent) (list []string) {
	for _, e := range did {
		list = append(list, outcome(e))
	}
	slices.Sort(list)
	return list
}

// actions names what the code does in the same words.
func actions(does []*protos.WorkflowAction) (list []string) {
	for _, a := range does {
		switch {
		case a.GetScheduleTask() != nil:
			list = append(list, fmt.Sprint(a.GetId(), " calls ", a.GetScheduleTask().GetName()))
		case a.GetCreateTimer() != nil:
			list = append(list, fmt.Sprint(a.GetId(), " sets a timer"))
		case a.GetCompleteWorkflow() != nil:
			list = append(list, fmt.Sprint("ends ", a.GetCompleteWorkflow().GetWorkflowStatus(), because(a.GetCompleteWorkflow())))
		}
	}
	slices.Sort(list)
	return list
}

// because is why a workflow failed: the engine says so when a replay differs.
func because(end *protos.CompleteWorkflowAction) string {
	if f := end.GetFailureDetails(); f != nil {
		return ": " + f.GetErrorMessage()
	}
	return ""
}

func readHistory(t *testing.T, file string) []*protos.HistoryEvent {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	history := make([]*protos.HistoryEvent, len(raw))
	for i, r := range raw {
		history[i] = new(protos.HistoryEvent)
		if err := protojson.Unmarshal(r, history[i]); err != nil {
			t.Fatal(err)
		}
	}
	return history
}

func TestRecordHistories(t *testing.T) {
	if !*recording {
		t.Skip("only with -record")
	}
	w := newWorld(t)
	w.sabotage()
	for name, run := range map[string]func(b *branch){
		"completed": func(b *branch) { b.submit(2, 400, ""); b.ends(Completed, "") },
		"waiting":   func(b *branch) { b.submit(2, 1_000, ""); b.await(AwaitingApproval) },
		"waiting-for-the-second": func(b *branch) {
			b.submit(2, 6_000, "")
			b.await(AwaitingApproval)
			b.vote(yes("alice"), http.StatusOK)
			b.tell(yes("carl")) // refused, but heard
			b.awaitHistory(activityHear)
		},
		"approved-by-two": func(b *branch) {
			b.submit(2, 6_000, "")
			b.await(AwaitingApproval)
			b.vote(yes("alice"), http.StatusOK)
			b.vote(yes("zoe"), http.StatusOK)
			b.ends(Completed, "")
		},
		"rejected": func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			b.vote(no("bob", "no budget"), http.StatusOK)
			b.ends(Rejected, reasonRejected)
		},
		"expired": func(b *branch) {
			b.exec(`update companies set policy = $2 where id = $1`, b.company, quick(50e6, 100e6, 150e6))
			b.submit(2, 1_000, "")
			b.ends(Rejected, reasonExpired)
		},
		"repeated-and-undone": func(b *branch) {
			b.erp.mode("down", 3)
			b.submit(2, 400, "")
			b.ends(Failed, reasonStep)
		},
		"stuck": func(b *branch) {
			b.inventory.conn.before = failing("Release", 3)
			b.erp.mode("down", 3)
			b.submit(2, 400, "")
			b.await(CompensationFailed)
		},
		"stuck-and-resumed": func(b *branch) {
			b.inventory.conn.before = failing("Release", 3)
			b.erp.mode("down", 3)
			b.submit(2, 400, "")
			b.stuckIn(undo(stepAllocate))
			b.ends(Failed, reasonStep)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(histories, "v1-"+name+".json")
			if _, err := os.Stat(file); err == nil {
				t.Skip("is there")
			}
			b := w.in(t, "", board())
			run(b)
			b.settled()
			b.writeHistory(file)
		})
	}
}

// tell raises an event through Dapr.
func (b *branch) tell(v Vote) {
	b.T.Helper()
	if err := b.engine.client.RaiseEvent(b.T.Context(), b.id.String(), eventApproval, workflow.WithEventPayload(v)); err != nil {
		b.T.Fatal(err)
	}
}

// awaitHistory waits until the workflow has called an activity.
func (b *branch) awaitHistory(activity string) {
	b.T.Helper()
	eventually(b.T, activity, func() error {
		if !slices.ContainsFunc(b.engine.history(b.T, b.id.String()), func(e *protos.HistoryEvent) bool {
			return e.GetTaskScheduled().GetName() == activity
		}) {
			return fmt.Errorf("%s was not called", activity)
		}
		return nil
	})
}

// settled waits until the workflow has ended, or waits for somebody.
func (b *branch) settled() {
	b.T.Helper()
	eventually(b.T, "rest", func() error {
		history := b.engine.history(b.T, b.id.String())
		if last := history[len(history)-1]; last.GetTimerCreated() == nil && last.GetExecutionCompleted() == nil {
			return fmt.Errorf("last is %v", last)
		}
		return nil
	})
}

func (b *branch) writeHistory(file string) {
	b.T.Helper()
	var lines []string
	for _, e := range b.engine.history(b.T, b.id.String()) {
		text, err := protojson.Marshal(e)
		if err != nil {
			b.T.Fatal(err)
		}
		lines = append(lines, string(text))
	}
	if err := os.WriteFile(file, []byte("[\n"+strings.Join(lines, ",\n")+"\n]\n"), 0o600); err != nil {
		b.T.Fatal(err)
	}
}

// Orders that wait when a new version is deployed end with the version they began
// with; those that come after take the new one.
func TestVersionsSideBySide(t *testing.T) {
	w := newWorld(t)
	old := w.in(t, "", board())
	old.submit(2, 1_000, "")
	old.await(AwaitingApproval)
	w.stop()

	r, err := w.worker.registry()
	if err != nil {
		t.Fatal(err)
	}
	const added = "inspect"
	inspected := make(chan string, 2)
	err = r.AddActivityN(added, func(ctx workflow.ActivityContext) (any, error) {
		var req Request
		err := ctx.GetInput(&req)
		inspected <- req.OrderID.String()
		return fine, err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = r.AddVersionedWorkflowN(workflowName, "v2", true, func(ctx *workflow.WorkflowContext) (any, error) {
		var in Input
		if err := ctx.GetInput(&in); err != nil {
			return nil, err
		}
		s := &saga{ctx: ctx, in: in}
		if _, err := call[Verdict](s, added, Request{}, local); err != nil {
			return nil, err
		}
		return s.run()
	})
	if err != nil {
		t.Fatal(err)
	}
	w.engine.workAs(t, w.worker, r)
	late := w.in(t, "", board())
	late.submit(2, 1_000, "")
	late.await(AwaitingApproval)
	for _, b := range []*branch{old, late} {
		b.vote(yes("bob"), http.StatusOK)
		b.ends(Completed, "")
	}
	if got := <-inspected; got != late.id.String() || len(inspected) > 0 {
		t.Errorf("%s took the new step, want only %s", got, late.id)
	}
}

// What is committed while nobody works, or the engine is away, is done afterwards.
func TestDecisionsWhileNobodyWorks(t *testing.T) {
	w := newWorld(t)
	b := w.in(t, "", board())
	b.submit(2, 1_000, "")
	b.await(AwaitingApproval)
	t.Run("the worker is away", func(*testing.T) {
		w.stop()
		b.vote(yes("bob"), http.StatusOK)
		w.engine.work(t, w.worker)
		b.ends(Completed, "")
	})
	t.Run("the engine is away", func(t *testing.T) {
		b := w.in(t, "", board())
		b.submit(2, 1_000, "")
		b.await(AwaitingApproval)
		w.engine.stop()
		b.vote(yes("bob"), http.StatusOK)
		unstarted := w.in(t, "", board())
		unstarted.submit(2, 400, "")
		w.engine.start(t)
		b.ends(Completed, "")
		unstarted.ends(Completed, "")
	})
}

// A workflow that is gone is started again, and ends as the first would have.
func TestALostWorkflowIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	for told, name := range []string{"not told of its decision yet", "told once"} {
		t.Run(name, func(t *testing.T) { w.in(t, "", board()).startsAgain(told) })
	}
}

func (b *branch) startsAgain(told int) {
	t, w := b.T, b.world
	b.submit(2, 1_000, "")
	b.await(AwaitingApproval)
	if err := w.engine.client.TerminateWorkflow(t.Context(), b.id.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.engine.client.WaitForWorkflowCompletion(t.Context(), b.id.String()); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.client.PurgeWorkflowState(t.Context(), b.id.String()); err != nil {
		t.Fatal(err)
	}
	b.vote(yes("bob"), http.StatusOK)
	b.exec(`update gates set decided_at = decided_at - interval '1 minute', version = version + 1 where id = $1`, b.id)
	b.exec(`update orders set told_count = $2, next_check_at = now() where id = $1`, b.id, told)
	b.ends(Completed, "")
	b.expectEmitted(b.id, b2b.TypeOrderSubmitted, b2b.TypeApprovalRequested, b2b.TypeOrderApproved,
		b2b.TypeOrderAllocated, b2b.TypeOrderCompleted)
}

// A workflow that hears nothing any more is ended and started again, and ends as the
// first would have.
func TestAWedgedWorkflowIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	w.stop()
	r := workflow.NewRegistry()
	var first atomic.Int64 // when the first run began: the same whenever it is replayed
	err := r.AddWorkflowN(workflowName, func(ctx *workflow.WorkflowContext) (any, error) {
		first.CompareAndSwap(0, ctx.CurrentTimeUTC().UnixNano())
		if ctx.CurrentTimeUTC().UnixNano() != first.Load() {
			return runOrder(ctx)
		}
		s := &saga{ctx: ctx}
		if err := ctx.GetInput(&s.in); err != nil {
			return nil, err
		}
		if _, err := s.holdCredit(); err != nil {
			return nil, err
		}
		return nil, ctx.WaitForExternalEvent("an answer that never comes", -1).Await(nil)
	})
	if err := errors.Join(err, w.worker.addActivities(r)); err != nil {
		t.Fatal(err)
	}
	w.engine.workAs(t, w.worker, r)
	b := w.in(t, "", board())
	b.submit(2, 1_000, "")
	b.await(AwaitingApproval)
	b.vote(yes("bob"), http.StatusOK)
	b.exec(`update gates set decided_at = decided_at - interval '3 minutes', version = version + 1 where id = $1`, b.id)
	// With another version, what the relay notes of a telling just under way does not come after this.
	b.exec(`update orders set told_count = $2, next_check_at = now(), version = version + 1 where id = $1`, b.id, wedgedTold)
	b.ends(Completed, "")
}

// An attempt left over from before an order was undone changes nothing any more.
func TestLateAttempts(t *testing.T) {
	w := newWorld(t)
	b := w.in(t, "", board())
	b.erp.mode("down", 3)
	b.submit(2, 400, "")
	before := b.ends(Failed, reasonStep)
	req := Request{Input: Input{OrderID: b.id}, Verdict: &cancelledByCustomer, Step: undo(stepERP), Cause: "late"}
	for name, attempt := range map[string]func() error{
		stepERP:         func() error { _, err := w.worker.syncERP(t.Context(), req); return err },
		stepAllocate:    func() error { _, err := w.worker.allocate(t.Context(), req); return err },
		undo(stepERP):   func() error { _, err := w.worker.undoERP(t.Context(), req); return err },
		activityStuck:   func() error { _, err := w.worker.stuck(t.Context(), req); return err },
		activityEnd:     func() error { _, err := w.worker.end(t.Context(), req); return err },
		"a failed step": func() error { w.worker.stumble(t.Context(), stepERP, req, time.Now(), os.ErrClosed); return nil },
	} {
		if err := attempt(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	after := b.ends(Failed, reasonStep)
	after.Version = before.Version
	was, err := json.Marshal(before)
	is, err2 := json.Marshal(after)
	if err != nil || err2 != nil || string(was) != string(is) {
		t.Errorf("the order was\n%s\nand is\n%s", was, is)
	}
}
