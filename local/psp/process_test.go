package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"quadrille.internal/local/psp/ledger"
)

// process is the real binary.
type process struct {
	cmd *exec.Cmd
	url string
}

func buildBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "psp")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func startProcess(t *testing.T, binary string, cfg config) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary,
		"-addr", "127.0.0.1:0", "-state", cfg.stateFile, "-key-file", cfg.keyFile, "-slow", "1m")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when the test has ended it already
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var entry struct{ Msg, Addr string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatalf("log line %q: %v", lines.Text(), err)
		}
		if entry.Msg == "listening" {
			return &process{cmd: cmd, url: "http://" + entry.Addr}
		}
	}
	t.Fatalf("ended before it listened: %v", cmd.Wait())
	return nil
}

// client returns a provider that talks to the process.
func (p *process) client(t *testing.T, like *provider) *provider {
	return &provider{t: t, cfg: like.cfg, url: p.url, client: like.client}
}

// load charges with ever new keys on every connection until the server dies,
// and reports each charge it was answered.
func load(p *provider, connections int, charged func(ledger.Charge)) {
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("k-%d-%d", i, n)
				a, err := p.do(p.t.Context(), http.MethodPost, "/v1/charges", key, chargeBody("tok_success", key))
				if err != nil {
					return
				}
				var c ledger.Charge
				if err := json.Unmarshal([]byte(a.body), &c); err != nil || a.status != http.StatusOK {
					p.t.Errorf("answered %d %s", a.status, a.body)
					return
				}
				charged(c)
			}
		})
	}
	wg.Wait()
}

func TestKilledUnderLoadKeepsEveryAnsweredCharge(t *testing.T) {
	stopped := startProvider(t)
	if err := stopped.stop(); err != nil {
		t.Fatal(err)
	}
	binary := buildBinary(t)

	answered := map[string]ledger.Charge{}
	for round := range 3 {
		process := startProcess(t, binary, stopped.cfg)
		p := process.client(t, stopped)
		p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
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
				if err := process.cmd.Process.Kill(); err != nil {
					t.Errorf("round %d: kill: %v", round, err)
				}
			}
		})
		_ = process.cmd.Wait()
	}
	checkLedger(t, startProcess(t, binary, stopped.cfg).client(t, stopped), answered)
}

// checkLedger demands every answered charge, and no order charged twice.
func checkLedger(t *testing.T, p *provider, answered map[string]ledger.Charge) {
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
	stopped := startProvider(t)
	if err := stopped.stop(); err != nil {
		t.Fatal(err)
	}
	process := startProcess(t, buildBinary(t), stopped.cfg)
	p := process.client(t, stopped)

	answers := make(chan answer, 2)
	for range 2 {
		go func() { answers <- p.charge("k", chargeBody("tok_slow", "o")) }()
	}
	expect(t, <-answers, http.StatusConflict, "idempotency_in_flight") // so the other one waits its minute
	if err := process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.status != http.StatusOK {
		t.Fatalf("answer in flight: %d %s", a.status, a.body)
	}
	if err := process.cmd.Wait(); err != nil {
		t.Fatalf("exit: %v", err)
	}
}

// BenchmarkCharge reports charges per second over loopback HTTP with a durable
// ledger, client included.
func BenchmarkCharge(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			p := startProvider(b)
			p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
			work := make(chan int)
			var wg sync.WaitGroup
			b.ResetTimer()
			for range connections {
				wg.Go(func() {
					for i := range work {
						key := fmt.Sprint("k", i)
						if a, err := p.do(context.Background(), "POST", "/v1/charges", key, chargeBody("tok_success", key)); err != nil || a.status != 200 {
							b.Errorf("charge: %d %v", a.status, err)
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
