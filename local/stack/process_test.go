package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper starts a process that does nothing until it is told to end.
func sleeper(t *testing.T, s *Stack, name string) *Process {
	t.Helper()
	p, err := s.spawn(command{name: name, args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.signal(syscall.SIGKILL) })
	return p
}

func TestProcessIsFoundAgainByItsPIDFile(t *testing.T) {
	s, _ := newStack(t)
	p := sleeper(t, s, "worker")
	found := s.Process("worker")
	if found == nil || found.PID != p.PID {
		t.Fatalf("found %+v, started %+v", found, p)
	}
	if err := found.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if s.Process("worker") != nil || p.Alive() {
		t.Error("still found after it was stopped")
	}
}

func TestWhatIsStartedMayBeWokenLate(t *testing.T) {
	s, _ := newStack(t)
	// Through a shell, as sidecars and services are started through dapr run.
	p, err := s.spawn(command{name: "worker", args: []string{"sh", "-c", "cat /proc/self/timerslack_ns; echo ready; sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.signal(syscall.SIGKILL) })
	awaitLog(t, s, "worker", "ready")
	log, err := os.ReadFile(s.LogFile("worker"))
	if got := strings.Fields(string(log))[0]; err != nil || got != "1000000" {
		t.Errorf("timer slack is %s ns, want 1000000 (%v)", got, err)
	}
}

func TestRecycledPIDIsLeftAlone(t *testing.T) {
	s, _ := newStack(t)
	stranger := sleeper(t, s, "stranger")
	// A pid file from before the pid was given to somebody else.
	if err := s.writePID(&Process{Name: "worker", PID: stranger.PID, start: stranger.start - 1}); err != nil {
		t.Fatal(err)
	}
	if p := s.Process("worker"); p != nil {
		t.Fatalf("took %+v for worker", p)
	}
	impostor := &Process{Name: "worker", PID: stranger.PID, start: stranger.start - 1}
	if err := impostor.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !stranger.Alive() {
		t.Error("the stranger was killed")
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	s, _ := newStack(t)
	p, err := s.spawn(command{name: "stubborn", args: []string{"sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.05; done`}})
	if err != nil {
		t.Fatal(err)
	}
	awaitLog(t, s, "stubborn", "ready")
	if err := p.Stop(t.Context(), 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("err = %v", err)
	}
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// await polls check until it returns nil, also on a busy machine.
func await(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := poll(ctx, func(context.Context) error { return check() }); err != nil {
		t.Fatal(err)
	}
}

func awaitLog(t *testing.T, s *Stack, part, text string) {
	t.Helper()
	await(t, func() error {
		log, err := os.ReadFile(s.LogFile(part))
		if err == nil && !strings.Contains(string(log), text) {
			err = fmt.Errorf("no %q in the log of %s", text, part)
		}
		return err
	})
}

// A service's parent is `dapr run`; when that dies, nobody we started knows it.
func TestOrphanIsFoundAndSwept(t *testing.T) {
	s, _ := newStack(t)
	parent, err := s.spawn(command{name: "parent", args: []string{"sh", "-c", "sleep 1000 & echo ready; wait"}})
	if err != nil {
		t.Fatal(err)
	}
	awaitLog(t, s, "parent", "ready")
	if err := parent.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	var orphan *Process
	await(t, func() error { // the shell may only just have forked it
		if orphan = s.Process("sleep"); orphan == nil {
			return errors.New("the orphan was not found")
		}
		return nil
	})
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if orphan.Alive() {
		t.Error("the orphan survived Down")
	}
}

func TestTwoStacksDoNotSeeEachOther(t *testing.T) {
	mine, _ := newStack(t)
	other, _ := newStack(t)
	p := sleeper(t, other, "sleep")
	if found := mine.Process("sleep"); found != nil {
		t.Errorf("found %+v of another stack", found)
	}
	if err := mine.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("Down stopped a process of another stack")
	}
}

func TestStartSaysWhyAPartDied(t *testing.T) {
	s, _ := newStack(t)
	err := s.start(t.Context(), command{name: "broken", args: []string{"sh", "-c", "sleep 0.1; echo no such luck; exit 3"}},
		s.addr(pspPort), listening(s.addr(pspPort)))
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("err = %v", err)
	}
}
