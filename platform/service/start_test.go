package service_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/host"
)

// asService is set where this program runs the service under test.
const asService = "QUADRILLE_TEST_AS_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		host.Main(spec(nil, nil))
		return
	}
	goleak.VerifyTestMain(m)
}

// BenchmarkStart measures a start, from that of the process until it is ready, with
// its database migrated and its sidecar up.
func BenchmarkStart(b *testing.B) {
	env := environment(b, startDaprd(b))
	for b.Loop() {
		startOnce(b, env)
	}
}

// startOnce starts the service, and stops it off the clock.
func startOnce(b *testing.B, env map[string]string) {
	b.Helper()
	var log bytes.Buffer
	cmd := exec.Command(os.Args[0]) //nolint:gosec // ourselves
	cmd.Env, cmd.Stderr = append(os.Environ(), asService+"=yes"), &log
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	look, deadline := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer look.Stop()
	for ready := false; !ready; {
		select {
		case <-look.C:
			status, _, err := get(env["QUADRILLE_HEALTH_ADDR"], "/readyz", "")
			ready = err == nil && status == http.StatusOK
		case <-deadline:
			_ = cmd.Process.Kill()
			b.Fatalf("not ready within a minute\n%s", &log)
		}
	}
	b.StopTimer()
	defer b.StartTimer()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%v\n%s", err, &log)
	}
}
