package stack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is the environment variable that everything started by a stack carries,
// with the stack's folder as value. Sidecars and services inherit it from
// `dapr run`, so they are found again however they were started, and after quad
// itself was killed.
const marker = "QUADRILLE_STACK"

// A Process is one running part of the stack. The start time tells it from a
// stranger that was given the same pid later.
type Process struct {
	Name  string
	PID   int
	start uint64 // clock ticks since boot
}

// Alive reports whether this very process still runs; a zombie does not.
func (p *Process) Alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.start
}

// Kill ends the process at once, as a crash would, and waits until it is gone.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.wait(ctx)
}

// Stop asks the process to end and waits for it. What is still running after
// grace is killed, which is reported as an error.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	return p.stop(ctx, syscall.SIGTERM, grace)
}

func (p *Process) stop(ctx context.Context, sig syscall.Signal, grace time.Duration) error {
	if err := p.signal(sig); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := p.wait(patience); err == nil {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return fmt.Errorf("%s (pid %d) did not end within %s and was killed", p.Name, p.PID, grace)
}

func (p *Process) signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to %s (pid %d): %w", sig, p.Name, p.PID, err)
	}
	return nil
}

func (p *Process) wait(ctx context.Context) error {
	return poll(ctx, func(context.Context) error {
		if p.Alive() {
			return fmt.Errorf("%s (pid %d) still runs", p.Name, p.PID)
		}
		return nil
	})
}

// outdated reports whether the binary was replaced since the process started.
func (p *Process) outdated() bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID))
	return err == nil && strings.HasSuffix(exe, " (deleted)")
}

// startTime reads field 22 of /proc/pid/stat. A zombie counts as gone.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name, field 2, is in parentheses and may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const state, start = 0, 19
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[start], 10, 64)
}

// A command is what it takes to start one part.
type command struct {
	name string
	args []string // args[0] is the program
	dir  string
	env  []string // on top of quad's own
	user *syscall.Credential
	// patience is how long its start may take; startPatience if it is 0.
	patience time.Duration
}

// spawn starts the command in a session of its own, so that it outlives quad and
// its terminal, with its output appended to log/<name>.log.
func (s *Stack) spawn(c command) (*Process, error) {
	log, err := os.OpenFile(s.LogFile(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(inheritable(os.Environ()), append(c.env, marker+"="+s.Dir)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.user}
	if err := StartWithSlack(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	// Reaps it if it ends before quad does; otherwise init will.
	go func() { _ = cmd.Wait() }()

	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		return nil, fmt.Errorf("%s ended at once%s", c.name, s.logTail(c.name))
	}
	p := &Process{Name: c.name, PID: cmd.Process.Pid, start: start}
	return p, s.writePID(p)
}

// timerSlack is how late the kernel may wake what a stack starts. The Go runtime
// naps for 20 µs dozens of times after each burst of work, and on a virtual machine
// a timer costs more than such a burst: docs/performance.md has the figures.
const timerSlack = 1_000_000 // ns

// StartWithSlack starts cmd with timerSlack, which a process has from the thread that
// forked it, and hands down (prctl(2), PR_SET_TIMERSLACK).
func StartWithSlack(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setTimerSlack(timerSlack); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), setTimerSlack(0)) // 0 is the thread's own again
}

func setTimerSlack(ns uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, ns, 0); errno != 0 {
		return fmt.Errorf("set timer slack: %w", errno)
	}
	return nil
}

func (s *Stack) pidFile(name string) string { return filepath.Join(s.Dir, "run", name+".pid") }

func (s *Stack) writePID(p *Process) error {
	return os.WriteFile(s.pidFile(p.Name), fmt.Appendf(nil, "%d %d\n", p.PID, p.start), 0o644)
}

// Process returns the running part of that name, or nil: "postgres", "redis", "kafka",
// "connect", "sentry", "placement", "scheduler", "psp", "dapr" (the CLI), a service such as "order",
// or its sidecar, "order-daprd".
//
// Where services run in one process, each that was not moved out is that process.
func (s *Stack) Process(name string) *Process {
	if s.OneProcess() && slices.Contains(s.inside(), name) {
		name = Together
	}
	if p := s.recorded(name); p != nil {
		return p
	}
	for _, p := range s.marked() {
		if p.Name == name {
			_ = s.writePID(p) // only saves the search next time
			return p
		}
	}
	return nil
}

// recorded reads the pid file; nil when there is none or its process is gone.
func (s *Stack) recorded(name string) *Process {
	text, err := os.ReadFile(s.pidFile(name))
	if err != nil {
		return nil
	}
	p := &Process{Name: name}
	if _, err := fmt.Sscan(string(text), &p.PID, &p.start); err != nil || !p.Alive() {
		return nil
	}
	return p
}

// marked finds every process that carries this stack's marker. PostgreSQL and
// Redis overwrite their environment and are found by their pid files only.
func (s *Stack) marked() []*Process {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ") // errs on a bad pattern only
	want := []byte(marker + "=" + s.Dir)
	var found []*Process
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil || !slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool {
			return bytes.Equal(v, want)
		}) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if start, err := startTime(pid); err == nil && pid != os.Getpid() {
			found = append(found, &Process{Name: cmp.Or(partIn(environ), roleOf(pid)), PID: pid, start: start})
		}
	}
	return found
}

// partIn is the name of a further replica, in its environment.
func partIn(environ []byte) string {
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if name, found := bytes.CutPrefix(variable, []byte(partOf+"=")); found {
			return string(name)
		}
	}
	return ""
}

// partProperty tells a Java program which part it is.
const partProperty = "-Dquadrille.part="

// roleOf names a process by its program; a sidecar by its app.
func roleOf(pid int) string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	args := strings.Split(string(cmdline), "\x00")
	name := filepath.Base(args[0])
	if i := slices.Index(args, "--app-id"); name == "daprd" && i >= 0 && i+1 < len(args) {
		return Sidecar(args[i+1])
	}
	for _, arg := range args { // Java programs are told their part, to be found again
		if part, found := strings.CutPrefix(arg, partProperty); found {
			return part
		}
	}
	return name
}

// Sidecar is the part name of an app's daprd.
func Sidecar(app string) string { return app + "-daprd" }
