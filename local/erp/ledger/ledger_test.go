package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
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
	standintest.CheckTorn(t, stateFile(t), func(path string, log *slog.Logger) error {
		l, err := Open(path, time.Now, log)
		if err != nil {
			return err
		}
		if status := all(t, l)[0].Status; status != StatusOpen { // nobody was told that it was cancelled
			t.Errorf("the order is %s", status)
		}
		return l.Close()
	})
}

func TestDamagedFileIsRefused(t *testing.T) {
	lines := bytes.SplitAfter(stateFile(t), []byte("\n"))
	standintest.CheckDamaged(t, map[string]string{
		"not json":      "{\n" + string(lines[0]),
		"id used twice": string(lines[0]) + string(lines[0]),
		"no id":         `{"create":{"order":{}}}` + "\n",
		"neither":       "{}\n",
		"no such order": string(lines[1]),
	}, func(path string) error {
		_, err := Open(path, time.Now, slog.New(slog.DiscardHandler))
		return err
	})
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
