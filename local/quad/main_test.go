package main

import (
	"errors"
	"io"
	"testing"

	"quadrille.internal/quad/command"
)

func TestWrongUsageIsAUsageError(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--unknown"}, {"deploy", "check", "surplus"}, {"down", "surplus"}, {"unknown"},
		{"move", "payment"}, {"move", "payment", "away"}, {"move", "paymnt", "out", "--dir", t.TempDir()},
		{"verify", "--dir", t.TempDir(), "--context", "elsewhere"},
	} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if _, ok := errors.AsType[command.UsageError](root.Execute()); !ok {
			t.Errorf("%q is no usage error", args)
		}
	}
}
