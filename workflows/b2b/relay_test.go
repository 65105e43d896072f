package b2b

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

// dapr stands in for the workflow API of a sidecar: it keeps what it is told.
type dapr struct {
	grpc.ClientConnInterface
	mu    sync.Mutex
	calls map[string][]string // instances, by method
	away  bool
	hold  map[string]chan struct{} // methods that answer only when theirs is closed
}

func newDapr() *dapr { return &dapr{calls: map[string][]string{}, hold: map[string]chan struct{}{}} }

// Invoke answers a call.
func (d *dapr) Invoke(_ context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	name := method[strings.LastIndex(method, "/")+1:]
	d.mu.Lock()
	away, hold := d.away, d.hold[name]
	if !away {
		d.calls[name] = append(d.calls[name], args.(interface{ GetInstanceId() string }).GetInstanceId())
	}
	d.mu.Unlock()
	if away {
		return status.Error(codes.Unavailable, "no sidecar")
	}
	if hold != nil {
		<-hold // whatever becomes of the caller: the next call is not to begin before
	}
	switch r := reply.(type) {
	case *protos.PurgeInstancesResponse:
		r.DeletedInstanceCount = 1
	case *protos.GetInstanceResponse:
		r.Exists = true
		r.WorkflowState = &protos.WorkflowState{
			InstanceId: args.(*protos.GetInstanceRequest).GetInstanceId(), WorkflowStatus: protos.OrchestrationStatus_ORCHESTRATION_STATUS_TERMINATED,
		}
	}
	return nil
}

// heard counts the calls of a method, in all and by instance.
func (d *dapr) heard(method string) (all int, by map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	by = map[string]int{}
	for _, id := range d.calls[method] {
		by[id]++
	}
	return len(d.calls[method]), by
}

const (
	methodStart     = "StartInstance"
	methodRaise     = "RaiseEvent"
	methodTerminate = "TerminateInstance"
)

func (o *office) relay(d *dapr) *relay {
	return newRelay(o.Pool, workflow.NewClientWithLogger(d, quiet{}), o.Log, 3)
}

// late makes orders look as though nothing had happened to them for a time.
func (o *office) late(since time.Duration, more string, ids ...uuid.UUID) {
	o.Helper()
	o.exec(`update orders set moved_at = now() - $2::interval, next_check_at = now() - interval '1 second' `+more+` where id = any($1)`, ids, since)
}

func (o *office) orders(n int) (ids []uuid.UUID) {
	o.Helper()
	for range n {
		ids = append(ids, o.order("acme", 400).OrderID)
	}
	return ids
}

const started = `, status = 'allocated', started_at = now() - interval '1 hour'`

func TestJudge(t *testing.T) {
	now := time.Now()
	open, decided := GateOpen, GateApproved
	for _, c := range []struct {
		name string
		d    dueOrder
		want does
	}{
		{"submitted, and waits for its turn", dueOrder{status: Submitted, late: now.Add(-time.Hour), told: 100}, tells},
		{"lost", dueOrder{status: Allocated, started: true, late: now.Add(-lostAfter)}, tells},
		{"late for long, and never told with success", dueOrder{status: Allocated, started: true, late: now.Add(-time.Hour)}, tells},
		{"late for long, and told twice", dueOrder{status: Allocated, started: true, late: now.Add(-time.Hour), told: 2}, tells},
		{"told often within the minute", dueOrder{status: Allocated, started: true, late: now.Add(-59 * time.Second), told: 9}, tells},
		{"told, and does not move", dueOrder{status: Allocated, started: true, late: now.Add(-wedgedAfter), told: 3}, endsIt},
		{"waits for an approver", dueOrder{status: AwaitingApproval, started: true, gate: &open, late: now.Add(time.Hour), told: 3}, nothing},
		{"expired, and not heard of", dueOrder{status: AwaitingApproval, started: true, gate: &open, late: now.Add(-time.Hour), told: 3}, endsIt},
		{"decided, and not heard of", dueOrder{status: AwaitingApproval, started: true, gate: &decided, late: now.Add(-3 * time.Second)}, tells},
		{"waits for an operator", dueOrder{status: CompensationFailed, started: true, late: now.Add(-time.Hour), told: 9}, nothing},
	} {
		if got := c.d.judge(now); got != c.want {
			t.Errorf("%s: does %d, want %d", c.name, got, c.want)
		}
	}
}

// A workflow that was started and does not begin is told to look, as it may have lost its
// reminder. One that is only new is not.
func TestNews(t *testing.T) {
	open, decided := GateOpen, GateApproved
	for _, c := range []struct {
		name string
		d    dueOrder
		want []string
	}{
		{"new", dueOrder{status: Submitted}, []string{""}},
		{"does not begin yet", dueOrder{status: Submitted, told: wedgedTold - 1}, []string{""}},
		{"does not begin", dueOrder{status: Submitted, told: wedgedTold}, []string{"", eventResume}},
		{"does not move", dueOrder{status: Allocated, started: true}, []string{"", eventResume}},
		{"just decided", dueOrder{status: AwaitingApproval, started: true, gate: &decided}, []string{eventApproval}},
		{"waits for an approver", dueOrder{status: AwaitingApproval, started: true, gate: &open}, []string{"", eventApproval}},
	} {
		var got []string
		for _, n := range c.d.news() {
			got = append(got, n.event)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", c.name, got, c.want)
		}
	}
}

// Each end doubles the time that the next workflow gets; a failed telling counts for
// nothing.
func TestPausesGrow(t *testing.T) {
	now := time.Now()
	d := dueOrder{status: Allocated, started: true}
	for _, c := range []struct {
		outcome    outcomeOfTelling
		about      time.Duration
		told, ends int
	}{
		{untold, 5 * time.Second, 0, 0}, {untold, 5 * time.Second, 0, 0},
		{told, 5 * time.Second, 1, 0}, {told, 10 * time.Second, 2, 0}, {untold, 5 * time.Second, 2, 0}, {told, 10 * time.Second, 3, 0},
		{ended, 20 * time.Second, 0, 1}, {told, 20 * time.Second, 1, 1}, {told, 20 * time.Second, 2, 1}, {told, 20 * time.Second, 3, 1},
		{ended, 40 * time.Second, 0, 2}, {notEnded, 5 * time.Second, 0, 2}, {full, 5 * time.Second, 0, 2},
	} {
		next, at := d.after(c.outcome, now)
		if got := at.Sub(now); got < c.about*3/4 || got > c.about*5/4 || next.told != c.told || next.ends != c.ends {
			t.Errorf("after %d it is looked at in %s with %d told and %d ends, want %+v", c.outcome, got, next.told, next.ends, c)
		}
		d = next
	}
}

// Orders that were submitted and whose turn has not come are told to start, once by
// all replicas, and never ended.
func TestThreeRelaysTellOnceAndEndNothingThatWaitsItsTurn(t *testing.T) {
	const crowd = 30
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	d := newDapr()
	ids := o.orders(crowd)
	o.late(time.Hour, ``, ids...)
	relays := []*relay{o.relay(d), o.relay(d), o.relay(d)}
	for _, r := range relays {
		r.endEvery = time.Millisecond
		servicetest.Run(t, r.run)
	}
	noted := func(count int) {
		t.Helper()
		eventually(t, "all told", func() error {
			if n := o.number(`select count(*) from orders where told_count = $1`, count); n != crowd {
				return fmt.Errorf("%d of %d", n, crowd)
			}
			return nil
		})
	}
	for round := 1; round <= 5; round++ {
		noted(round)
		if all, by := d.heard(methodStart); all != round*crowd || by[ids[0].String()] != round {
			t.Fatalf("round %d: %d starts, %d of the first, want each once a round", round, all, by[ids[0].String()])
		}
		o.exec(`update orders set next_check_at = now() where told_count = $1`, round)
	}
	if all, _ := d.heard(methodTerminate); all > 0 {
		t.Errorf("%d workflows were ended that had not begun", all)
	}
	leaders := int64(0)
	for _, r := range relays {
		leaders += r.count.leads.Load()
	}
	if leaders != 1 {
		t.Errorf("%d relays lead", leaders)
	}
}

// sweep takes up all that is due.
func (r *relay) sweep(ctx context.Context, now time.Time) error {
	for {
		if more, err := r.takeDue(ctx, now); err != nil || !more {
			return err
		}
	}
}

// Who led and does not any more writes nothing, and the next goes on where it was.
func TestLeadershipPassesOn(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	d := newDapr()
	first, second := o.relay(d), o.relay(d)
	id := o.orders(1)[0]
	o.late(time.Hour, started+`, told_count = 2`, id)
	sweep := func(r *relay, want int) {
		t.Helper()
		if err := r.sweep(t.Context(), time.Now()); err != nil || len(r.due)+len(r.ends) != want {
			t.Errorf("a sweep finds %d and %d, %v, want %d", len(r.due), len(r.ends), err, want)
		}
	}
	sweep(first, 1)
	sweep(second, 0)
	first.tellAgain(t.Context(), <-first.due)
	o.late(time.Hour, ``, id)
	sweep(second, 0) // the first one leads
	sweep(first, 1)  // and would end it
	o.exec(`update relay_leader set until = now()`)
	o.late(time.Hour, ``, id)
	sweep(second, 1)
	stale := <-first.ends
	first.endWedged(t.Context(), stale)
	first.note(t.Context(), stale, ended)
	if all, _ := d.heard(methodTerminate); all > 0 || o.load(id).ToldCount != 3 || o.load(id).EndsCount != 0 {
		t.Errorf("the one that leads no more ended %d workflows, and noted %+v", all, o.load(id))
	}
	second.endWedged(t.Context(), <-second.ends)
	if all, _ := d.heard(methodTerminate); all != 1 || o.load(id).EndsCount != 1 {
		t.Errorf("the leader ended %d workflows, and noted %+v", all, o.load(id))
	}
	second.resign(t.Context())
	o.late(time.Hour, ``, id)
	sweep(first, 1)
}

// A leader that cannot reach its sidecar lets another replica lead, and leads again
// where no other does.
func TestALeaderWithoutASidecarYields(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	away, well := newDapr(), newDapr()
	away.away = true
	first, second := o.relay(away), o.relay(well)
	id := o.orders(1)[0]
	now := time.Now()
	sweep := func(r *relay, at time.Time) int {
		t.Helper()
		o.late(time.Minute, ``, id)
		if err := r.sweep(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		n := len(r.due)
		for len(r.due) > 0 {
			r.tellAgain(t.Context(), <-r.due)
		}
		return n
	}
	if sweep(first, now) != 1 || sweep(second, now) != 0 {
		t.Fatal("the first relay does not lead")
	}
	if sweep(first, now.Add(failsFor+time.Minute)) != 0 || first.count.leads.Load() != 0 {
		t.Error("it leads on, though its sidecar takes nothing")
	}
	if sweep(second, now) != 1 {
		t.Error("the other one does not lead instead")
	}
	if starts, _ := well.heard(methodStart); starts != 1 {
		t.Errorf("%d starts, want 1", starts)
	}
	second.resign(t.Context())
	if sweep(first, now) != 1 || first.count.leads.Load() != 1 {
		t.Error("nobody leads, and it does not either")
	}
}

// While Dapr is away nobody is told, so nobody has failed to hear. Minutes of that,
// and its return, end nothing.
func TestOutageOfDaprEndsNothing(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	d := newDapr()
	d.away = true
	r := o.relay(d)
	ids := append(o.orders(3), o.gated("acme", 5_000).OrderID)
	o.exec(`update gates set remind_at = now() - interval '1 hour'`)
	round := func() {
		t.Helper()
		o.late(10*time.Minute, ``, ids...)
		r.failing.Store(0) // or it gives up its lease, where ten rounds take long
		if err := r.sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		for len(r.due) > 0 {
			r.tellAgain(t.Context(), <-r.due)
		}
	}
	o.late(10*time.Minute, started, ids[:3]...)
	for range 10 {
		round()
	}
	if n := o.number(`select count(*) from orders where told_count > 0 or ends_count > 0`); n > 0 || len(r.ends) > 0 {
		t.Errorf("%d orders count as told, %d as wedged", n, len(r.ends))
	}
	d.away = false
	for range wedgedTold {
		round()
		if len(r.ends) > 0 {
			t.Fatal("told with success only now, an order counts as wedged")
		}
	}
	round()
	if len(r.ends) == 0 {
		t.Error("told three times and unmoved, no order counts as wedged")
	}
}

// However long ends take, starts and news go on; and ends are few.
func TestStartsDoNotWaitForEnds(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	d := newDapr()
	release := make(chan struct{})
	d.hold[methodTerminate] = release
	wedged := o.orders(50)
	o.late(time.Hour, started+`, told_count = 3`, wedged...)
	r := o.relay(d)
	r.endEvery = time.Millisecond
	servicetest.Run(t, r.run)
	t.Cleanup(func() { close(release) })
	eventually(t, "ends", func() error {
		if all, _ := d.heard(methodTerminate); all < enders {
			return errors.New("none yet")
		}
		return nil
	})
	fresh := o.orders(1)[0]
	o.late(time.Minute, ``, fresh)
	eventually(t, "the start", func() error {
		if _, by := d.heard(methodStart); by[fresh.String()] == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if all, _ := d.heard(methodTerminate); all > enders {
		t.Errorf("%d workflows are ended at once, want %d at most", all, enders)
	}
}

// A wedged workflow is ended and started again at once, and what came of it is noted.
func TestEndOfAWedgedWorkflow(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	d := newDapr()
	r := o.relay(d)
	var log bytes.Buffer
	r.log = slog.New(slog.NewTextHandler(&log, nil))
	id := o.orders(1)[0]
	o.late(time.Hour, started+`, told_count = 3`, id)
	if err := r.sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	r.endWedged(t.Context(), <-r.ends)
	starts, _ := d.heard(methodStart)
	if got := o.load(id); starts != 1 || got.ToldCount != 0 || got.EndsCount != 1 || !strings.Contains(log.String(), id.String()) {
		t.Errorf("%d starts, and the order has %d told and %d ends; the log says %s", starts, got.ToldCount, got.EndsCount, log.String())
	}
}

// What moves an order says when to look at it next.
func TestNextCheck(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	expect := func(step string, id uuid.UUID, want *time.Time) {
		t.Helper()
		got := o.load(id).NextCheckAt
		if (got == nil) != (want == nil) || got != nil && got.Sub(*want).Abs() > 10*time.Second {
			t.Errorf("after %s it is looked at %v, want %v", step, got, want)
		}
	}
	in := func(d time.Duration) *time.Time { at := time.Now().Add(d); return &at }
	a := o.request("POST", "/v1/b2b/orders", "PO-1", `{"company_id":"acme","ordered_by":"carl","lines":[{"sku":"desk","quantity":1,"unit_price":5000}]}`)
	id := uuid.MustParse(a.Body.String()[len(`{"id":"`):][:36])
	expect("submission", id, in(relayAfter))
	req := Request{Input: Input{OrderID: id, Attempts: 3}}
	if _, err := o.worker.holdCredit(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect("the gate opened", id, in(remindAfter+lostAfter))
	o.exec(`update gates set remind_at = now()`)
	if _, err := o.worker.advance(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect("the reminder", id, in(escalateAfter+lostAfter))
	o.exec(`update orders set told_count = 2, ends_count = 1`)
	if _, err := o.cast(id, yes("bob")); err != nil {
		t.Fatal(err)
	}
	expect("the decision", id, in(relayAfter))
	o.worker.stumble(t.Context(), stepERP, req, time.Now(), errors.New("down"))
	if _, err := o.worker.lookAtGate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect("the decision was heard", id, in(lostAfter))
	if got := o.load(id); got.ToldCount != 0 || got.EndsCount != 0 {
		t.Errorf("moved, the order still has %d told and %d ends", got.ToldCount, got.EndsCount)
	}
	req.Step, req.Verdict = undo(stepERP), &cancelledByCustomer
	if _, err := o.worker.stuck(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect("its compensation failed", id, nil)
	o.request("POST", "/v1/b2b/orders/"+id.String()+"/resume", "", "")
	expect("it was resumed", id, in(lostAfter))
	if _, err := o.worker.end(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect("its end", id, nil)
}

// A sweep costs what is due, however much waits.
func TestQueriesOfTheRelayUseIndexes(t *testing.T) {
	fill := append(waiting(20_000), `update orders set next_check_at = now() - interval '1 minute' where id in (select id from orders where ended_at is null limit 50)`)
	servicetest.CheckPlans(t, Service(), fill, []string{"orders_due", "orders_undone"}, func(t *testing.T, kit *service.Kit) {
		d := newDapr()
		r := newRelay(kit.Pool, workflow.NewClientWithLogger(d, quiet{}), kit.Log, 3)
		if err := r.sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		order := dueOrder{id: uuid.New(), version: 1}
		if _, err := r.confirm(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		r.note(t.Context(), order, told)
		if _, err := orders.Select(t.Context(), kit.Pool, stuckSQL, time.Now(), time.Now().Add(longestPause), stuckMost); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkSweep(b *testing.B) {
	for _, crowd := range []int{100_000, 300_000} {
		b.Run(fmt.Sprintf("waiting=%d", crowd), func(b *testing.B) {
			kit := servicetest.NewKit(b, Service())
			pgtest.Fill(b, kit.Pool, waiting(crowd)...)
			r := newRelay(kit.Pool, workflow.NewClientWithLogger(newDapr(), quiet{}), kit.Log, 3)
			for b.Loop() {
				if err := r.sweep(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
