package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin/standintest"
)

// load creates orders conditionally until the server dies, and reports each
// order it was answered. Two connections each race for the same orders.
func load(e erp, pairs int, answered func(ledger.Order)) {
	var wg sync.WaitGroup
	for i := range 2 * pairs {
		wg.Go(func() {
			for n := i % pairs; ; n += pairs {
				body := orderBody(externalID(n), "c1")
				a, err := e.Do(e.T.Context(), http.MethodPost, "/v1/orders", body, conditionHeader, "*")
				if err != nil {
					return
				}
				var o ledger.Order
				err = json.Unmarshal([]byte(a.Body), &o)
				if err != nil || a.Status != http.StatusCreated && a.Status != http.StatusPreconditionFailed {
					e.T.Errorf("answered %d %s", a.Status, a.Body)
					return
				}
				answered(o)
			}
		})
	}
	wg.Wait()
}

func TestKilledUnderLoadKeepsOneOrderForEachAnswered(t *testing.T) {
	stopped := standintest.Prepare(t, program)
	binary := standintest.Build(t)

	answered := map[string]string{} // order by external id
	for round := range 3 {
		process := stopped.StartProcess(binary)
		e := erp{process.Client(stopped)}
		e.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
		checkLedger(t, e, answered)

		var mu sync.Mutex
		target := len(answered) + 200
		load(e, 8, func(o ledger.Order) {
			mu.Lock()
			defer mu.Unlock()
			if before, ok := answered[o.ExternalID]; ok && before != o.ID {
				t.Errorf("order %s is %s and %s", o.ExternalID, before, o.ID)
			}
			answered[o.ExternalID] = o.ID
			if len(answered) == target {
				if err := process.Signal(syscall.SIGKILL); err != nil {
					t.Errorf("round %d: kill: %v", round, err)
				}
			}
		})
		_ = process.Wait()
	}
	checkLedger(t, erp{stopped.StartProcess(binary).Client(stopped)}, answered)
}

// checkLedger demands every answered order, and none twice.
func checkLedger(t *testing.T, e erp, answered map[string]string) {
	t.Helper()
	ids := map[string]string{}
	for cursor := ""; ; {
		page := standintest.Parse[struct{ Data []ledger.Order }](t, e.Must("GET", "/v1/orders?limit=1000"+cursor, "")).Data
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			ids[o.ExternalID] = o.ID
		}
		cursor = "&starting_after=" + page[len(page)-1].ID
	}
	for externalID, id := range answered {
		if ids[externalID] != id {
			t.Errorf("order %s was answered as %s and is %q", externalID, id, ids[externalID])
		}
	}
	if s := e.summary(); s.Orders != s.ExternalIDs || s.Orders != len(ids) {
		t.Errorf("%d orders of %d external ids, %d listed", s.Orders, s.ExternalIDs, len(ids))
	}
	t.Logf("%d orders in the ledger, %d answered", len(ids), len(answered))
}

func TestServerEndsWhenItsDiskFails(t *testing.T) {
	e := erp{standintest.Prepare(t, program)}
	e.Start()
	standintest.BreakDisk(t, e.Config.StateFile)
	standintest.Expect(t, e.create(1), http.StatusInternalServerError, "internal")
	if err := e.Wait(); err == nil {
		t.Fatal("ended without an error")
	}
}

func TestSIGTERMExitsZero(t *testing.T) {
	stopped := standintest.Prepare(t, program)
	process := stopped.StartProcess(standintest.Build(t))
	e := erp{process.Client(stopped)}
	e.created(1)
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err != nil {
		t.Fatalf("exit: %v", err)
	}
}
