package standintest

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// CheckTorn has a ledger open a state file whose last line is torn, at each byte at which it
// can be. The log must say how much was cut off.
func CheckTorn(t *testing.T, whole []byte, open func(path string, log *slog.Logger) error) {
	t.Helper()
	first := bytes.IndexByte(whole, '\n') + 1
	for size := first + 1; size < len(whole); size++ {
		var logged bytes.Buffer
		if err := open(write(t, whole[:size]), slog.New(slog.NewTextHandler(&logged, nil))); err != nil {
			t.Fatalf("torn at %d: %v", size, err)
		}
		if !strings.Contains(logged.String(), fmt.Sprintf("bytes=%d", size-first)) {
			t.Fatalf("torn at %d, logged %q", size, logged.String())
		}
	}
}

// CheckDamaged wants a ledger to refuse state files, named by their fault, and to leave them
// as they are.
func CheckDamaged(t *testing.T, files map[string]string, open func(path string) error) {
	t.Helper()
	for fault, damaged := range files {
		path := write(t, []byte(damaged))
		if err := open(path); err == nil {
			t.Errorf("%s: opened", fault)
		}
		if raw, _ := os.ReadFile(path); string(raw) != damaged {
			t.Errorf("%s: the evidence was changed", fault)
		}
	}
}

// write makes a state file.
func write(t *testing.T, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
