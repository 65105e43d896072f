package b2b

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/uuid"
)

// panicking panics in the first calls of a method.
func panicking(method string, times int64) func(string) error {
	fails := failing(method, times)
	return func(called string) error {
		if fails(called) != nil {
			panic("index out of luck")
		}
		return nil
	}
}

// asked is what the engine tells an activity, as far as it is asked.
type asked struct {
	workflow.ActivityContext
	ctx context.Context //nolint:containedctx // as the engine has it
	req Request
}

func (a asked) Context() context.Context { return a.ctx }

func (a asked) GetInput(into any) error {
	*into.(*Request) = a.req
	return nil
}

func TestAPanicInAnActivityIsLoggedWithItsPlace(t *testing.T) {
	w := newOffice(t).worker
	var log bytes.Buffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	run := activity(w, stepAllocate, func(context.Context, Request) (Verdict, error) { panic("index out of luck") })
	req := Request{Input: Input{OrderID: uuid.New()}}
	if _, err := run(asked{ctx: t.Context(), req: req}); err == nil || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("the attempt ends with %v, want a failure without the stack", err)
	}
	for _, want := range []string{"index out of luck", "panic_test.go", req.OrderID.String()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log: %s", want, log.String())
		}
	}
}
