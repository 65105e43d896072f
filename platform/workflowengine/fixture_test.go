package workflowengine

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tables = fstest.MapFS{"migrations/00001_workflow.sql": {Data: []byte(Tables)}}

// runs is what activities did, and how often.
type runs struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *runs) add(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[string]int{}
	}
	r.count[what]++
}

func (r *runs) of(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[what]
}

// registry has what the tests run.
func (r *runs) registry(t *testing.T) *workflow.Registry {
	t.Helper()
	reg := workflow.NewRegistry()
	for name, run := range map[string]workflow.Workflow{
		"pair": pair, "wait": wait, "nap": nap, "fail": func(*workflow.WorkflowContext) (any, error) { return nil, context.Canceled },
	} {
		if err := reg.AddWorkflowN(name, run); err != nil {
			t.Fatal(err)
		}
	}
	err := reg.AddActivityN("note", func(ctx workflow.ActivityContext) (any, error) {
		var what string
		err := ctx.GetInput(&what)
		r.add(what)
		return what, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// pair runs two activities at once, and then one more.
func pair(ctx *workflow.WorkflowContext) (any, error) {
	a := ctx.CallActivity("note", workflow.WithActivityInput(ctx.ID()+" a"))
	b := ctx.CallActivity("note", workflow.WithActivityInput(ctx.ID()+" b"))
	var first, second, third string
	if err := a.Await(&first); err != nil {
		return nil, err
	}
	if err := b.Await(&second); err != nil {
		return nil, err
	}
	err := ctx.CallActivity("note", workflow.WithActivityInput(ctx.ID()+" c")).Await(&third)
	return first + ", " + second + ", " + third, err
}

// wait waits for an event and returns it.
func wait(ctx *workflow.WorkflowContext) (any, error) {
	var heard string
	err := ctx.WaitForExternalEvent("news", -1).Await(&heard)
	return heard, err
}

func nap(ctx *workflow.WorkflowContext) (any, error) {
	return nil, ctx.CreateTimer(100 * time.Millisecond).Await(nil)
}

// process is an engine and a worker, as a service has them.
type process struct {
	*testing.T
	runs   *runs
	client *workflow.Client
	stop   func()
}

func start(t *testing.T, pool *pgxpool.Pool, runs *runs) *process {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	e, err := New(Config{Name: "test", Pool: pool, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	stopEngine := servicetest.Run(t, e.Run)
	client := workflow.NewClientWithLogger(e.Conn(), engineLog{log, new(atomic.Bool)})
	ctx, cancel := context.WithCancel(t.Context())
	if err := client.StartWorker(ctx, runs.registry(t)); err != nil {
		t.Fatal(err)
	}
	p := &process{T: t, runs: runs, client: client, stop: func() { cancel(); stopEngine() }}
	t.Cleanup(p.stop)
	return p
}

func (p *process) begin(name, id string) {
	p.Helper()
	if _, err := p.client.ScheduleWorkflow(p.Context(), name, workflow.WithInstanceID(id), workflow.WithStartTime(time.Now())); err != nil {
		p.Fatal(err)
	}
}

// ends waits for the end of a workflow and returns how it ended.
func (p *process) ends(id string) (status, output string) {
	p.Helper()
	m, err := p.client.WaitForWorkflowCompletion(p.Context(), id)
	if err != nil {
		p.Fatal(err)
	}
	return m.RuntimeStatus.String(), m.Output.GetValue()
}

// newStoreOn returns a store that does nothing by itself.
func newStoreOn(t *testing.T, pool *pgxpool.Pool, c Config) *store {
	t.Helper()
	c.Pool, c.Log = pool, slog.New(slog.DiscardHandler)
	return newStore(c.withDefaults())
}

func open(t *testing.T) *pgxpool.Pool { return pgtest.Open(t, tables) }
