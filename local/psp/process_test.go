package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin/standintest"
)

// load charges with ever new keys on every connection until the server dies,
// and reports each charge it was answered.
func load(p provider, connections int, charged func(ledger.Charge)) {
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("k-%d-%d", i, n)
				a, err := p.do(p.T.Context(), http.MethodPost, "/v1/charges", key, chargeBody("tok_success", key))
				if err != nil {
					return
				}
				var c ledger.Charge
				if err := json.Unmarshal([]byte(a.Body), &c); err != nil || a.Status != http.StatusOK {
					p.T.Errorf("answered %d %s", a.Status, a.Body)
					return
				}
				charged(c)
			}
		})
	}
	wg.Wait()
}

func TestKilledUnderLoadKeepsEveryAnsweredCharge(t *testing.T) {
	stopped := standintest.Prepare(t, program)
	binary := standintest.Build(t)

	answered := map[string]ledger.Charge{}
	for round := range 3 {
		process := stopped.StartProcess(binary)
		p := provider{process.Client(stopped)}
		p.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
		checkLedger(t, p, answered)

		var mu sync.Mutex
		target := len(answered) + 500
		load(p, 32, func(c ledger.Charge) {
			mu.Lock()
			defer mu.Unlock()
			// The keys repeat in every round: the first 500 or so are replayed.
			if before, ok := answered[c.Metadata["order_id"]]; ok && before.ID != c.ID {
				t.Errorf("order charged twice: %s and %s", before.ID, c.ID)
			}
			answered[c.Metadata["order_id"]] = c
			if len(answered) == target {
				if err := process.Signal(syscall.SIGKILL); err != nil {
					t.Errorf("round %d: kill: %v", round, err)
				}
			}
		})
		_ = process.Wait()
	}
	checkLedger(t, provider{stopped.StartProcess(binary).Client(stopped)}, answered)
}

// checkLedger demands every answered charge, and no order charged twice.
func checkLedger(t *testing.T, p provider, answered map[string]ledger.Charge) {
	t.Helper()
	inLedger := map[string]string{}
	cursor := ""
	for {
		page := p.charges(cursor)
		for _, c := range page {
			if other, twice := inLedger[c.Metadata["order_id"]]; twice {
				t.Errorf("order %s charged by %s and %s", c.Metadata["order_id"], other, c.ID)
			}
			inLedger[c.Metadata["order_id"]] = c.ID
		}
		if len(page) == 0 {
			break
		}
		cursor = "starting_after=" + page[len(page)-1].ID
	}
	for order, c := range answered {
		if inLedger[order] != c.ID {
			t.Errorf("charge %s of order %s was answered and is lost", c.ID, order)
		}
	}
	t.Logf("%d charges in the ledger, %d answered", len(inLedger), len(answered))
}

func TestSIGTERMAnswersWhatIsInFlightAndExitsZero(t *testing.T) {
	stopped := standintest.Prepare(t, program)
	process := stopped.StartProcess(standintest.Build(t))
	p := provider{process.Client(stopped)}

	answers := make(chan standintest.Answer, 2)
	for range 2 {
		go func() { answers <- p.charge("k", chargeBody("tok_slow", "o")) }()
	}
	standintest.Expect(t, <-answers, http.StatusConflict, "idempotency_in_flight") // so the other one waits its minute
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.Status != http.StatusOK {
		t.Fatalf("answer in flight: %d %s", a.Status, a.Body)
	}
	if err := process.Wait(); err != nil {
		t.Fatalf("exit: %v", err)
	}
}

// BenchmarkCharge reports charges per second over loopback HTTP with a durable
// ledger, client included.
func BenchmarkCharge(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			p := startProvider(b)
			p.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
			work := make(chan int)
			var wg sync.WaitGroup
			b.ResetTimer()
			for range connections {
				wg.Go(func() {
					for i := range work {
						key := fmt.Sprint("k", i)
						if a, err := p.do(context.Background(), "POST", "/v1/charges", key, chargeBody("tok_success", key)); err != nil || a.Status != 200 {
							b.Errorf("charge: %d %v", a.Status, err)
						}
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "charges/s")
		})
	}
}
