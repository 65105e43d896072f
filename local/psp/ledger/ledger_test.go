package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quadrille.internal/local/standin/journal"
	"quadrille.internal/local/standin/standintest"
)

func open(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(path, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func charge(t *testing.T, l *Ledger, key string) (*Outcome, error) {
	t.Helper()
	claim, _, err := l.Claim(key, "print")
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Release()
	return claim.Charge(1000, "GBP", "tok_success", map[string]string{"order_id": "o"})
}

// stateFile returns the bytes of a ledger with two charges.
func stateFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	l := open(t, path)
	for _, key := range []string{"k1", "k2"} {
		if _, err := charge(t, l, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLastLineTornAtAnyByteIsCutOff(t *testing.T) {
	whole := stateFile(t)
	first := bytes.IndexByte(whole, '\n') + 1
	for size := first + 1; size < len(whole); size++ {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		var logged bytes.Buffer
		l, err := Open(path, time.Now, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatalf("torn at %d: %v", size, err)
		}
		if !strings.Contains(logged.String(), fmt.Sprintf("bytes=%d", size-first)) {
			t.Fatalf("torn at %d, logged %q", size, logged.String())
		}
		if _, err := charge(t, l, "k2"); err != nil { // nobody was told, so the key is free
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if n := open(t, path).Summary().Charges; n != 2 {
			t.Fatalf("torn at %d: %d charges", size, n)
		}
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	lines := bytes.SplitAfter(stateFile(t), []byte("\n"))
	for name, damaged := range map[string]string{
		"not json":       "{\n" + string(lines[0]),
		"key used twice": string(lines[0]) + string(lines[0]),
		"no outcome":     `{"key":"k"}` + "\n",
		"orphan refund":  `{"key":"k","refund":{"id":"re_1","charge":"ch_1","amount":1}}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(path, time.Now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: opened with %+v", name, l.Summary())
		}
		if raw, _ := os.ReadFile(path); string(raw) != damaged {
			t.Errorf("%s: the evidence was changed", name)
		}
	}
}

func TestFailedWriteStopsTheLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l := open(t, path)
	standintest.BreakDisk(t, path)
	for _, key := range []string{"k1", "k2"} {
		if o, err := charge(t, l, key); err == nil {
			t.Fatalf("charged %+v without a disk", o)
		}
	}
	<-l.Failed()
	if n := l.Summary().Charges; n != 0 {
		t.Fatalf("%d charges visible", n)
	}
}

func TestClosedLedgerAcceptsNothing(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "state"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := charge(t, l, "k"); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("charge: %v", err)
	}
}
