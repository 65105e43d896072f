package ledger

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
	standintest.CheckTorn(t, stateFile(t), func(path string, log *slog.Logger) error {
		l, err := Open(path, time.Now, log)
		if err != nil {
			return err
		}
		if _, err := charge(t, l, "k2"); err != nil { // nobody was told, so the key is free
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
		if n := open(t, path).Summary().Charges; n != 2 {
			t.Errorf("%d charges", n)
		}
		return nil
	})
}

func TestDamagedFileIsRefused(t *testing.T) {
	lines := bytes.SplitAfter(stateFile(t), []byte("\n"))
	standintest.CheckDamaged(t, map[string]string{
		"not json":       "{\n" + string(lines[0]),
		"key used twice": string(lines[0]) + string(lines[0]),
		"no outcome":     `{"key":"k"}` + "\n",
		"orphan refund":  `{"key":"k","refund":{"id":"re_1","charge":"ch_1","amount":1}}` + "\n",
	}, func(path string) error {
		_, err := Open(path, time.Now, slog.New(slog.DiscardHandler))
		return err
	})
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
