package workflowengine

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/jackc/pgx/v5/pgxpool"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const (
	completed  = "ORCHESTRATION_STATUS_COMPLETED"
	failed     = "ORCHESTRATION_STATUS_FAILED"
	terminated = "ORCHESTRATION_STATUS_TERMINATED"
)

func TestRunsWorkflows(t *testing.T) {
	p := start(t, open(t), &runs{})
	p.begin("pair", "one")
	if status, output := p.ends("one"); status != completed || output != `"one a, one b, one c"` {
		t.Errorf("ended %s with %s", status, output)
	}
	p.begin("nap", "two")
	if status, _ := p.ends("two"); status != completed {
		t.Errorf("with a timer: ended %s", status)
	}
	p.begin("fail", "three")
	if status, _ := p.ends("three"); status != failed {
		t.Errorf("that fails: ended %s", status)
	}
	p.begin("wait", "four")
	for _, news := range []string{"first", "second"} {
		if err := p.client.RaiseEvent(t.Context(), "four", "news", workflow.WithEventPayload(news)); err != nil {
			t.Fatal(err)
		}
	}
	if status, output := p.ends("four"); status != completed || output != `"first"` {
		t.Errorf("with an event: ended %s with %s", status, output)
	}
}

// What a process leaves goes on in the next one, from where it was.
func TestGoesOnAfterRestart(t *testing.T) {
	pool, r := open(t), &runs{}
	p := start(t, pool, r)
	p.begin("wait", "waits")
	p.begin("pair", "works")
	p.ends("works")
	p.stop()
	p = start(t, pool, r)
	if err := p.client.RaiseEvent(t.Context(), "waits", "news", workflow.WithEventPayload("late")); err != nil {
		t.Fatal(err)
	}
	if status, output := p.ends("waits"); status != completed || output != `"late"` {
		t.Errorf("ended %s with %s", status, output)
	}
	if status, _ := p.ends("works"); status != completed || r.of("works a") != 1 {
		t.Errorf("what had ended is %s, and ran %d times", status, r.of("works a"))
	}
}

// Two processes share the work of one database; none does what the other does.
func TestProcessesShareWork(t *testing.T) {
	const n = 60
	pool, r := open(t), &runs{}
	both := []*process{start(t, pool, r), start(t, pool, r)}
	for i := range n {
		both[i%2].begin("pair", fmt.Sprint("flow ", i))
	}
	for i := range n {
		id := fmt.Sprint("flow ", i)
		if status, _ := both[(i+1)%2].ends(id); status != completed {
			t.Errorf("%s: ended %s", id, status)
		}
		for _, step := range []string{" a", " b", " c"} {
			if got := r.of(id + step); got != 1 {
				t.Errorf("%s%s ran %d times, want once", id, step, got)
			}
		}
	}
}

func TestStartAgain(t *testing.T) {
	p := start(t, open(t), &runs{})
	p.begin("wait", "id")
	_, err := p.client.ScheduleWorkflow(t.Context(), "wait", workflow.WithInstanceID("id"), workflow.WithStartTime(time.Now()))
	if status.Code(err) != codes.AlreadyExists {
		t.Errorf("an id that runs answers %v, want AlreadyExists", err)
	}
	if err := p.client.TerminateWorkflow(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	if status, _ := p.ends("id"); status != terminated {
		t.Errorf("ended %s", status)
	}
	p.begin("pair", "id")
	if status, output := p.ends("id"); status != completed || output != `"id a, id b, id c"` {
		t.Errorf("an id that has ended, begun again: ended %s with %s", status, output)
	}
}

func TestUnknownAndEnded(t *testing.T) {
	p := start(t, open(t), &runs{})
	ctx := t.Context()
	for what, err := range map[string]error{
		"raise":     p.client.RaiseEvent(ctx, "nobody", "news"),
		"terminate": p.client.TerminateWorkflow(ctx, "nobody"),
		"purge":     p.client.PurgeWorkflowState(ctx, "nobody"),
	} {
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s a workflow that is not there: %v, want NotFound", what, err)
		}
	}
	p.begin("wait", "id")
	if err := p.client.PurgeWorkflowState(ctx, "id"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("purge one that runs: %v, want FailedPrecondition", err)
	}
	for range 2 { // the second time it has ended
		if err := p.client.TerminateWorkflow(ctx, "id"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.client.RaiseEvent(ctx, "id", "news"); err != nil {
		t.Errorf("raise to one that has ended: %v", err)
	}
	if err := p.client.PurgeWorkflowState(ctx, "id"); err != nil {
		t.Errorf("purge: %v", err)
	}
}

// Nothing stays of workflows that ended long ago.
func TestPurgesEnded(t *testing.T) {
	pool := open(t)
	p := start(t, pool, &runs{})
	for _, id := range []string{"old", "new", "failed"} {
		name := "pair"
		if id == "failed" {
			name = "fail"
		}
		p.begin(name, id)
		p.ends(id)
	}
	p.begin("wait", "running")
	p.stop()
	servicetest.Await(t, "workflow waits", func() bool {
		return number(t, pool, `select count(*) from workflow_instances where id = 'running' and status = 'RUNNING' or id <> 'running'`) >= 3
	})
	if _, err := pool.Exec(t.Context(), `update workflow_instances set completed_at = completed_at - interval '2 days' where id in ('old', 'failed')`); err != nil {
		t.Fatal(err)
	}
	s := newStoreOn(t, pool, Config{})
	if err := s.purgeEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int64{"old": 0, "new": 1, "failed": 1, "running": 1} {
		if got := number(t, pool, `select count(*) from workflow_instances where id = $1`, id); got != want {
			t.Errorf("%s: %d left, want %d", id, got, want)
		}
	}
	if n := number(t, pool, `select count(*) from workflow_history where instance_id = 'old'`); n != 0 {
		t.Errorf("%d events left of what was purged", n)
	}
}

// What runs uses an index, whatever is in the tables.
func TestPlans(t *testing.T) {
	fill := []string{
		`insert into workflow_instances (id, name, status, due_at, worker, completed_at)
			select 'i' || n, 'x', 'RUNNING', case when n % 10 = 0 then now() + n * interval '1 hour' end, null,
				case when n % 2 = 0 then now() - n * interval '1 second' end
			from generate_series(1, 20000) n`,
		`insert into workflow_history select 'i' || n, s, 'x' from generate_series(1, 20000) n, generate_series(1, 3) s`,
		`insert into workflow_inbox (instance_id, visible_at, event) select 'i' || n, now() + interval '1 day', 'x' from generate_series(1, 20000) n`,
		`insert into workflow_tasks (instance_id, due_at, event) select 'i' || n, now() + interval '1 day', 'x' from generate_series(1, 20000) n`,
	}
	indexes := []string{"workflow_instances_due", "workflow_instances_held", "workflow_instances_completed", "workflow_tasks_due", "workflow_tasks_held"}
	servicetest.CheckPlans(t, service.Spec{Name: "test", Migrations: tables}, fill, indexes, plansOf)
}

func number(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
