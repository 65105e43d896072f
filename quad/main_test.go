package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// operator is the command as operators have it: built by itself, run in a folder that has
// nothing to do with a checkout, by a user without contexts.
type operator struct {
	program, dir string
	env          []string
}

func newOperator(t *testing.T) operator {
	t.Helper()
	o := operator{program: filepath.Join(t.TempDir(), "quad"), dir: t.TempDir()}
	o.env = []string{"HOME=" + o.dir, "PATH="}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", o.program, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build quad without go.work: %v\n%s", err, out)
	}
	return o
}

// run returns what the command printed on both, and its exit code.
func (o operator) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), o.program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = o.dir, o.env, strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

const example = `
read_only: true
services:
  order: {public: 'http://127.0.0.1:1', admin: 'http://127.0.0.1:1', admin_token: {value: geheim}}
`

func TestTheOperatorsCommandNeedsNoCheckout(t *testing.T) {
	o := newOperator(t)
	for _, step := range []struct {
		args  string
		stdin string
		code  int
		want  string // in what it prints
		not   string // what it must not print
	}{
		{args: "--help", want: "context", not: "Start everything"},
		{args: "version", want: "go1."},
		{args: "up", code: 2, want: "up"},
		{args: "context ls", want: "there are no contexts"},
		{args: "context ls --json", want: "[]"},
		{args: "verify", code: 3, want: "no context is chosen"},
		{args: "verify --context local", code: 3, want: "only a checkout of Quadrille has the context local"},
		{args: "verify --context there", code: 3, want: "no context there"},
		{args: "context add", code: 2, want: "takes [NAME]"},
		{args: "context add there", code: 2, want: "--file"},
		{args: "context add there --file none.yaml", code: 2, want: "none.yaml"},
		{args: "context add local --file -", stdin: example, code: 2, want: "always there"},
		{args: "context add there --file -", stdin: "services: {order: {admin: x}}", code: 2, want: "services.order.admin"},
		{args: "context add there --file -", stdin: example, want: "added context there"},
		{args: "context add there --file -", stdin: example, code: 2, want: "--replace"},
		{args: "context show there", want: "http://127.0.0.1:1", not: "geheim"},
		{args: "context use nowhere", code: 3, want: "no context nowhere"},
		{args: "context use there", want: "the current context is there"},
		{args: "context ls", want: "*  there           1  127.0.0.1  read_only"},
		{args: "order list --customer c1", code: 3, want: "context there: "},
		{args: "stock show A1", code: 3, want: "services.inventory.admin: is not set"},
		{args: "order cancel 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a", code: 2, want: "context there is read_only"},
		{args: "doctor", code: 1, want: "the port forwarded", not: "quad doctor"},
		{args: "context rm there", want: "removed"},
		{args: "verify", code: 3, want: "no context is chosen"},
	} {
		stdout, stderr, code := o.run(t, step.stdin, strings.Fields(step.args)...)
		if code != step.code || !strings.Contains(stdout+stderr, step.want) || step.not != "" && strings.Contains(stdout+stderr, step.not) {
			t.Errorf("quad %s: exit code %d, want %d, with %q, without %q:\n%s%s", step.args, code, step.code, step.want, step.not, stdout, stderr)
		}
	}
	info, err := os.Stat(filepath.Join(o.dir, ".config", "quadrille", "contexts.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the contexts have mode %v, %v, want 0600", info, err)
	}
}

// Which installation is meant is said where people read it, and nowhere else.
func TestTheChosenContextIsSaidToPeople(t *testing.T) {
	o := newOperator(t)
	o.run(t, example, "context", "add", "there", "--file", "-")
	_, people, _ := o.run(t, "", "order", "list", "--customer", "c1", "--context", "there")
	if !strings.HasPrefix(people, "context there\n") {
		t.Errorf("people are told %q, want the context first", people)
	}
	_, programs, _ := o.run(t, "", "order", "list", "--customer", "c1", "--context", "there", "--json")
	if strings.HasPrefix(programs, "context there\n") {
		t.Errorf("programs are told %q", programs)
	}
}
