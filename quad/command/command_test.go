package command

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"quadrille.internal/quad/installation"
)

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"anything else": {errors.New("broken"), exitUnwell},
		"unwell":        {Unwell{Err: errors.New("redis"), Said: true}, exitUnwell},
		"usage":         {UsageError{errors.New("what?")}, exitUsage},
		"environment": {
			fmt.Errorf("start: %w", &installation.EnvironmentError{Problem: "no disk", Remedy: "buy one"}), exitEnvironment,
		},
	} {
		if got := fail(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}

func TestWrongUsageIsAUsageError(t *testing.T) {
	for _, args := range [][]string{{"verify", "--unknown"}, {"verify", "surplus"}, {"unknown"}} {
		root, _ := New(Options{})
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if _, ok := errors.AsType[UsageError](root.Execute()); !ok {
			t.Errorf("%q is no usage error", args)
		}
	}
}
