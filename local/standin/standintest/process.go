package standintest

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Process is the real binary.
type Process struct {
	cmd *exec.Cmd
	url string
}

// Build compiles the program in the present folder.
func Build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "standin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// StartProcess runs the binary with the server's files, waits of a minute and these flags.
func (s *Server) StartProcess(binary string, flags ...string) *Process {
	s.T.Helper()
	cmd := exec.CommandContext(s.T.Context(), binary, append(flags,
		"-addr", "127.0.0.1:0", "-state", s.Config.StateFile, "-key-file", s.Config.KeyFile, "-slow", "1m")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		s.T.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when the test has ended it already
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var entry struct{ Msg, Addr string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			s.T.Fatalf("log line %q: %v", lines.Text(), err)
		}
		if entry.Msg == "listening" {
			return &Process{cmd: cmd, url: "http://" + entry.Addr}
		}
	}
	s.T.Fatalf("ended before it listened: %v", cmd.Wait())
	return nil
}

// Client returns a copy of s that talks to the process.
func (p *Process) Client(s *Server) *Server {
	client := *s
	client.URL = p.url
	return &client
}

// Signal sends a signal; os.Kill is kill -9.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Wait returns once the process has ended, with an error unless it exited 0.
func (p *Process) Wait() error { return p.cmd.Wait() }
