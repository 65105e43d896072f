package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/local/standin/index"
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

func draft(externalID string) Draft {
	return Draft{ExternalID: externalID, CompanyID: "c", Currency: "GBP", Total: 1000, Lines: []Line{{SKU: "A", Quantity: 1, UnitPrice: 1000}}}
}

func create(t *testing.T, l *Ledger, externalID string) Order {
	t.Helper()
	order, err := l.Create(draft(externalID), false)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

func all(t *testing.T, l *Ledger) []Order {
	t.Helper()
	page, err := l.Orders(index.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Data
}

// stateFile returns the bytes of a ledger with one order, which was cancelled.
func stateFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	l := open(t, path)
	if _, err := l.Settle(create(t, l, "x").ID, StatusCancelled); err != nil {
		t.Fatal(err)
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
		if status := all(t, l)[0].Status; status != StatusOpen { // nobody was told that it was cancelled
			t.Fatalf("torn at %d: order is %s", size, status)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	lines := bytes.SplitAfter(stateFile(t), []byte("\n"))
	for name, damaged := range map[string]string{
		"not json":      "{\n" + string(lines[0]),
		"id used twice": string(lines[0]) + string(lines[0]),
		"no id":         `{"create":{"order":{}}}` + "\n",
		"neither":       "{}\n",
		"no such order": string(lines[1]),
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

// Rivals pass the check that spares the disk together and all reach the file.
func TestOrderOfTheFileDecidesBetweenRivals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l := open(t, path)
	settledAs := create(t, l, "x").ID
	var wg sync.WaitGroup
	var mu sync.Mutex
	created, settledOnce := 0, map[Status]bool{}
	for i := range 64 {
		wg.Go(func() {
			order, err := l.record(entry{Create: &creation{Order: Order{ID: fmt.Sprint(i), Draft: draft("y"), Status: StatusOpen}, OnlyNew: true}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if !errors.Is(err, ErrExists) || order.ID == "" {
				t.Errorf("create: %+v, %v", order, err)
			}
		})
		wg.Go(func() {
			as := []Status{StatusCancelled, StatusShipped}[i%2]
			_, err := l.record(entry{Settle: &settlement{ID: settledAs, As: as, At: 1}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				settledOnce[as] = true
			} else if !errors.Is(err, ErrSettled) {
				t.Errorf("settle: %v", err)
			}
		})
	}
	wg.Wait()
	if created != 1 || len(settledOnce) != 1 {
		t.Fatalf("%d created, settled as %v", created, settledOnce)
	}
	orders, summary := all(t, l), l.Summary()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	replayed := open(t, path)
	if got := all(t, replayed); !reflect.DeepEqual(got, orders) || !reflect.DeepEqual(replayed.Summary(), summary) {
		t.Fatalf("replayed %+v, want %+v", got, orders)
	}
}

func TestFailedWriteStopsTheLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l := open(t, path)
	standintest.BreakDisk(t, path)
	for range 2 {
		if order, err := l.Create(draft("x"), false); err == nil {
			t.Fatalf("created %+v without a disk", order)
		}
	}
	<-l.Failed()
	if n := l.Summary().Orders; n != 0 {
		t.Fatalf("%d orders visible", n)
	}
}
