package host

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quadrille.internal/platform/service"
)

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// patient is a layer that takes a while to finish after its end.
func (j *journal) patient(level service.Level, name string) service.Layer {
	return service.Layer{Level: level, Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		j.note(name + " stops")
		<-time.After(time.Second) // of the test's bubble
		j.note(name + " stopped")
		return nil
	}}
}

func TestLayersStopTopDownOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- newLayers().run(ctx, time.Minute, []stack{{"order", []service.Layer{j.patient(service.LevelOutbox, "outbox"), j.patient(service.LevelInbox, "inbox"), j.patient(service.LevelHTTP, "intake")}}})
		}()
		synctest.Wait() // all run
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []string{
			"intake stops", "intake stopped", "inbox stops", "inbox stopped", "outbox stops", "outbox stopped",
		}
		if !slices.Equal(j.lines, want) {
			t.Errorf("stopped in the order %q", j.lines)
		}
	})
}

func TestTheEndOfOneLayerEndsAll(t *testing.T) {
	broken := errors.New("port gone")
	for name, result := range map[string]error{"with an error": broken, "without one": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				err := newLayers().run(t.Context(), time.Minute, []stack{{"order", []service.Layer{
					j.patient(service.LevelOutbox, "outbox"),
					{Level: service.LevelInbox, Name: "inbox", Run: func(context.Context) error { return result }},
					j.patient(service.LevelHTTP, "intake"),
				}}})
				if !errors.Is(err, errEnded) || !strings.HasPrefix(err.Error(), "order: inbox ended early") || (result != nil && !errors.Is(err, result)) {
					t.Errorf("run = %v", err)
				}
				if want := []string{"intake stops", "intake stopped", "outbox stops", "outbox stopped"}; !slices.Equal(j.lines, want) {
					t.Errorf("stopped in the order %q", j.lines)
				}
			})
		})
	}
}

func TestAFailedStopIsReportedAndDoesNotKeepTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		broken := errors.New("could not flush")
		err := newLayers().run(ctx, time.Minute, []stack{{"order", []service.Layer{
			j.patient(service.LevelOutbox, "outbox"),
			{Level: service.LevelInbox, Name: "inbox", Run: func(ctx context.Context) error { <-ctx.Done(); return broken }},
		}}})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "stop order: inbox") {
			t.Errorf("run = %v", err)
		}
		if want := []string{"outbox stops", "outbox stopped"}; !slices.Equal(j.lines, want) {
			t.Errorf("stopped in the order %q", j.lines)
		}
	})
}

func TestAStopThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		began := time.Now()
		err := newLayers().run(ctx, stopTimeout, []stack{{"order", []service.Layer{
			{Level: service.LevelInbox, Name: "inbox", Run: func(context.Context) error { <-release; return nil }},
		}}})
		if took := time.Since(began); took != stopTimeout || stopTimeout+closeTimeout*2 > 10*time.Second {
			t.Errorf("given up after %v, and the process has ten seconds", took)
		}
		if err == nil || !strings.Contains(err.Error(), "order: inbox did not stop in time") {
			t.Errorf("run = %v", err)
		}
		close(release)
	})
}

// A level of one service stops before the next of any: what is under way may still need
// another service. Within a service its work stops as it is listed, from the last.
func TestServicesStopLevelByLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		layers := func(name string) []service.Layer {
			return []service.Layer{
				j.patient(service.LevelInbox, name+" inbox"), j.patient(service.LevelWork, name+" first"),
				j.patient(service.LevelWork, name+" second"), j.patient(service.LevelHTTP, name+" http"),
			}
		}
		go func() {
			ended <- newLayers().run(ctx, time.Minute, []stack{{"a", layers("a")}, {"b", layers("b")}})
		}()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("services that stop side by side took %v, want a second a layer", took)
		}
		for _, service := range []string{"a ", "b "} {
			var mine []string
			for _, line := range j.lines {
				if rest, ok := strings.CutPrefix(line, service); ok {
					mine = append(mine, rest)
				}
			}
			want := []string{
				"http stops", "http stopped", "second stops", "second stopped", "first stops", "first stopped", "inbox stops", "inbox stopped",
			}
			if !slices.Equal(mine, want) {
				t.Errorf("%sstopped in the order %q", service, mine)
			}
		}
		order := strings.Join(j.lines, ",")
		for _, pair := range [][2]string{{"a http stopped", "b second stops"}, {"b http stopped", "a second stops"}, {"a first stopped", "b inbox stops"}} {
			if strings.Index(order, pair[0]) > strings.Index(order, pair[1]) {
				t.Errorf("%q came after %q", pair[0], pair[1])
			}
		}
	})
}

// One service stops and starts again while others run. Once the process stops, none starts.
func TestOneServiceStopsWhileOthersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		layers := newLayers()
		of := func(name string) stack {
			return stack{name, []service.Layer{j.patient(service.LevelOutbox, name+" outbox"), j.patient(service.LevelHTTP, name+" http")}}
		}
		ended := make(chan error, 1)
		go func() { ended <- layers.run(ctx, time.Minute, []stack{of("a"), of("b")}) }()
		synctest.Wait()
		for range 2 {
			if err := layers.stop(ctx, time.Minute, func(name string) bool { return name == "a" }); err != nil {
				t.Fatal(err)
			}
			want := []string{"a http stops", "a http stopped", "a outbox stops", "a outbox stopped"}
			if !slices.Equal(j.lines, want) {
				t.Errorf("stopped in the order %q, want %q", j.lines, want)
			}
			j.lines = nil
			if err := layers.start(ctx, of("a")); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		synctest.Wait()
		if err := layers.start(ctx, of("c")); err == nil {
			t.Error("a service starts while the process stops")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, name := range []string{"a", "b"} {
			if !slices.Contains(j.lines, name+" outbox stopped") {
				t.Errorf("%s did not stop: %q", name, j.lines)
			}
		}
	})
}
