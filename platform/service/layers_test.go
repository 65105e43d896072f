package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
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
func (j *journal) patient(name string) layer {
	return layer{name, func(ctx context.Context) error {
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
			ended <- runLayers(ctx, time.Minute, []layer{j.patient("outbox"), j.patient("inbox"), j.patient("intake")})
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
				err := runLayers(t.Context(), time.Minute, []layer{
					j.patient("outbox"),
					{"inbox", func(context.Context) error { return result }},
					j.patient("intake"),
				})
				if !errors.Is(err, errEnded) || !strings.HasPrefix(err.Error(), "inbox ended early") || (result != nil && !errors.Is(err, result)) {
					t.Errorf("runLayers = %v", err)
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
		err := runLayers(ctx, time.Minute, []layer{
			j.patient("outbox"),
			{"inbox", func(ctx context.Context) error { <-ctx.Done(); return broken }},
		})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "stop inbox") {
			t.Errorf("runLayers = %v", err)
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
		err := runLayers(ctx, stopTimeout, []layer{
			{"inbox", func(context.Context) error { <-release; return nil }},
		})
		if took := time.Since(began); took != stopTimeout || stopTimeout+closeTimeout*2 > 10*time.Second {
			t.Errorf("given up after %v, and the process has ten seconds", took)
		}
		if err == nil || !strings.Contains(err.Error(), "inbox did not stop within 9s") {
			t.Errorf("runLayers = %v", err)
		}
		close(release)
	})
}

// A connection that never comes back must not keep the process from ending.
func TestClosingThePoolDoesNotHang(t *testing.T) {
	pool, err := pgtx.Open(t.Context(), pgtest.URL(t), pgtx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &process{pool: pool}
	began := time.Now()
	p.closePool()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	conn.Release()
}
