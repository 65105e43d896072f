package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/local/stack"
)

const (
	readyTimeout = 3 * time.Minute
	pollEvery    = 20 * time.Millisecond
	// soon is how soon something has happened that needs a moment on a quiet machine: this
	// one has other tests to run, and may be slow.
	soon = 2 * time.Minute
)

// eventually polls check until it returns nil, and fails the test with its last
// error when that takes longer than timeout.
func eventually(t *testing.T, timeout time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	began := time.Now()
	// Cleanups wait too, and by then the test's own context is cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), timeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err // one that ctx caused says less than the one before
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, time.Since(began).Round(time.Second), last)
		case <-tick.C:
		}
	}
}

// kill ends a part as a crash would.
func (s *system) kill(t *testing.T, part string) {
	t.Helper()
	s.end(t, part, syscall.SIGKILL)
}

// end sends a part a signal and waits until it is gone.
func (s *system) end(t *testing.T, part string, sig syscall.Signal) {
	t.Helper()
	p := s.running(t, part)
	if err := syscall.Kill(p.PID, sig); err != nil {
		t.Fatalf("send %s to %s: %v", sig, part, err)
	}
	eventually(t, soon, "end of "+part, func(context.Context) error {
		if p.Alive() {
			return errors.New("still runs")
		}
		return nil
	})
}

func (s *system) running(t *testing.T, part string) *stack.Process {
	t.Helper()
	p := s.Process(part)
	if p == nil {
		t.Fatalf("%s is not running", part)
	}
	return p
}

// revive starts whatever is not running and waits until all is ready.
func (s *system) revive(t *testing.T) {
	t.Helper()
	limit := readyTimeout
	if byDebezium {
		limit = startTimeout // connectors begin one after the other
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	if err := s.UpInfra(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.startServices(ctx); err != nil {
		t.Fatal(err)
	}
}

// restartWith starts a service again with an environment variable changed, until
// the test ends.
func (s *system) restartWith(t *testing.T, app, name, value string) {
	t.Helper()
	env := s.App(app).Env
	before, was := env[name]
	t.Cleanup(func() {
		env[name] = before
		if !was {
			delete(env, name)
		}
		s.end(t, app, syscall.SIGTERM)
		s.revive(t)
	})
	env[name] = value
	s.end(t, app, syscall.SIGTERM)
	s.revive(t)
}

// appPorts matches the shifted ports of the services and their sidecars.
var appPorts = regexp.MustCompile(`\b(?:29|30|31)[1-5][01]\d\b`)

// twin returns a command that starts the same as a running part, with its own
// ports raised, so that both can run side by side. The stack's marker is in the
// environment: whatever happens, the twin ends with the stack.
func (s *system) twin(t *testing.T, part string, raise int) *exec.Cmd {
	t.Helper()
	pid := s.running(t, part).PID
	args := procStrings(t, pid, "cmdline")
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // what runs already
	cmd.Env = procStrings(t, pid, "environ")
	cmd.Dir = s.Dir
	raisePorts(cmd.Args, raise)
	raisePorts(cmd.Env, raise)
	log, err := os.OpenFile(s.LogFile(part+"-twin"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

func procStrings(t *testing.T, pid int, file string) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
}

func raisePorts(values []string, by int) {
	for i, v := range values {
		values[i] = appPorts.ReplaceAllStringFunc(v, func(port string) string {
			n, _ := strconv.Atoi(port) // digits: the expression says so
			return strconv.Itoa(n + by)
		})
	}
}

// startTwin starts a command of twin's and makes sure it ends with the test.
func startTwin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// mustWaitForCharge places an order whose charge is under way at the provider, and stays so
// until goOn is called: it is then made, and answered to whoever still listens.
func (s *system) mustWaitForCharge(t *testing.T, b basket) (id uuid.UUID, goOn func()) {
	t.Helper()
	slow := s.twin(t, "psp", 0)
	slow.Args = append(slow.Args, "-slow", "1m") // the longest; told to end, it waits no longer
	s.end(t, "psp", syscall.SIGTERM)
	t.Cleanup(func() { s.revive(t) })
	startTwin(t, slow)
	id = s.mustPlace(t, b)
	eventually(t, soon, "the provider is asked", func(context.Context) error {
		log, err := os.ReadFile(s.LogFile("psp-twin"))
		if err == nil && !bytes.Contains(log, []byte(id.String())) {
			err = errors.New("it has not heard of the charge")
		}
		return err
	})
	return id, func() {
		s.end(t, "psp", syscall.SIGTERM)
		s.revive(t)
	}
}

// stopTwin asks a process to end and returns how it did.
func stopTwin(t *testing.T, cmd *exec.Cmd, within time.Duration) {
	t.Helper()
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(within, func() { _ = cmd.Process.Kill() })
	defer hang.Stop()
	if err := cmd.Wait(); err != nil {
		if !diedOfRetention(cmd) {
			t.Errorf("%s after SIGTERM: %v, after %s", cmd.Path, err, time.Since(began))
		}
		t.Logf("%s panicked in handleRetention", cmd.Path)
	}
	t.Logf("stopped within %s", time.Since(began).Round(time.Millisecond))
}

// diedOfRetention reports whether a sidecar of twin's ended by a fault of Dapr 1.18.2: a
// workflow that completes just when it moves to another sidecar makes it panic. What it was
// doing is done again elsewhere; see docs/decisions/0006.
func diedOfRetention(cmd *exec.Cmd) bool {
	log, ok := cmd.Stderr.(*os.File)
	if !ok {
		return false
	}
	text, err := os.ReadFile(log.Name())
	return err == nil && bytes.Contains(text, []byte("orchestrator.(*orchestrator).handleRetention("))
}

// raised is a URL of a part, or of its twin.
func raised(url string, by int) string {
	urls := []string{url}
	raisePorts(urls, by)
	return urls[0]
}

// awaitTwin waits until a service that was started by a test is ready.
func (s *system) awaitTwin(t *testing.T, app string, raise int) {
	t.Helper()
	url := raised(s.HealthURL(app), raise) + "/readyz"
	eventually(t, readyTimeout, url, func(ctx context.Context) error {
		a, err := s.send(ctx, http.MethodGet, url, nil, nil)
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
}

// metric reads one of a service's metrics.
func (s *system) metric(t *testing.T, healthURL, name string) (value float64) {
	t.Helper()
	a := s.ask(t, http.MethodGet, healthURL+"/metrics", nil, nil)
	for line := range strings.Lines(string(a.body)) {
		series, rest, _ := strings.Cut(line, " ")
		if found, _, _ := strings.Cut(series, "{"); found == name {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
