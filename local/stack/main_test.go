package stack

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Tests use private servers, whatever the environment of the caller names.
func TestMain(m *testing.M) {
	os.Unsetenv("QUADRILLE_REDIS")
	os.Unsetenv("QUADRILLE_POSTGRES")
	os.Unsetenv("QUADRILLE_KAFKA_BROKERS")
	goleak.VerifyTestMain(m)
}

// testShift keeps clear of the daily stack, and of those of other tests that run at the same time.
const testShift = 4000

// newStack is a stack of the real repository in a folder of its own. At the end it
// is stopped and deleted, whatever the test started.
func newStack(t *testing.T) (*Stack, *[]Event) {
	t.Helper()
	var events []Event
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Report: func(e Event) {
		events = append(events, e)
		if e.State != Building {
			t.Logf("%s %s %s %s", e.Part, e.State, e.Detail, e.Took)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Wipe(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, &events
}
