package main

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"quadrille.internal/local/stack"
)

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"anything else": {errors.New("broken"), exitUnwell},
		"unwell":        {unwell{error: errors.New("redis"), said: true}, exitUnwell},
		"usage":         {usageError{errors.New("what?")}, exitUsage},
		"environment": {
			fmt.Errorf("start: %w", &stack.EnvironmentError{Problem: "no disk", Remedy: "buy one"}), exitEnvironment,
		},
	} {
		if got := fail(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}

func TestWrongUsageIsAUsageError(t *testing.T) {
	for _, args := range [][]string{{"up", "--unknown"}, {"down", "surplus"}, {"unknown"}} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if _, ok := errors.AsType[usageError](root.Execute()); !ok {
			t.Errorf("%q is no usage error", args)
		}
	}
}
