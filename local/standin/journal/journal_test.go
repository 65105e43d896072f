package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"quadrille.internal/local/standin/journal"
	"quadrille.internal/local/standin/standintest"
)

// open returns the journal and the lines replayed.
func open(t *testing.T, path string) (*journal.Journal, []string) {
	t.Helper()
	var lines []string
	j, err := journal.Open(path, slog.New(slog.DiscardHandler), func(line []byte) error {
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, lines
}

func TestLinesAreReplayedInTheOrderTheyBecameDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	j, _ := open(t, path)
	var durable []string // no lock: one goroutine runs every durable function
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			line := fmt.Sprint("line ", i)
			if err := j.Append([]byte(line), func() { durable = append(durable, line) }); err != nil {
				t.Errorf("append: %v", err)
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, lines := open(t, path); len(lines) != 200 || !slices.Equal(lines, durable) {
		t.Fatalf("%d lines replayed, %d durable, in another order or not all", len(lines), len(durable))
	}
}

func TestTornLastLineIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("whole\nto"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, lines := open(t, path)
	if err := j.Append([]byte("next"), func() {}); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	if !slices.Equal(lines, []string{"whole"}) || string(raw) != "whole\nnext\n" {
		t.Fatalf("replayed %q, file %q", lines, raw)
	}
}

func TestRefusedReplayLeavesTheFileAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	damaged := []byte("odd\nto")
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	odd := errors.New("odd line")
	_, err := journal.Open(path, slog.New(slog.DiscardHandler), func([]byte) error { return odd })
	if !errors.Is(err, odd) || !strings.Contains(err.Error(), "line 1") {
		t.Fatalf("open: %v", err)
	}
	if raw, _ := os.ReadFile(path); !bytes.Equal(raw, damaged) {
		t.Fatalf("the evidence was changed to %q", raw)
	}
	open(t, path) // and the lock was given up
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	open(t, path)
	if _, err := journal.Open(path, slog.New(slog.DiscardHandler), nil); err == nil {
		t.Fatal("opened twice")
	}
}

func TestFailedWriteIsFinal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	j, _ := open(t, path)
	standintest.BreakDisk(t, path)
	for range 2 {
		if err := j.Append([]byte("line"), func() { t.Error("reported durable") }); err == nil {
			t.Fatal("appended without a disk")
		}
	}
	<-j.Failed()
}

func TestClosedJournalAcceptsNothing(t *testing.T) {
	j, _ := open(t, filepath.Join(t.TempDir(), "state"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("line"), func() {}); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("append: %v", err)
	}
}
