package payment

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// standIn is the payment provider's stand-in, a process of its own.
type standIn struct {
	t        testing.TB
	url, key string
	slow     time.Duration
}

var standInDir string

// buildStandIn builds it once for all tests.
var buildStandIn = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "psp")
	if err != nil {
		return "", err
	}
	standInDir = dir
	binary := filepath.Join(dir, "psp")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../../local/psp"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the provider's stand-in: %w\n%s", err, out)
	}
	return binary, nil
})

// removeStandIn ends the tests.
func removeStandIn(code int) {
	_ = os.RemoveAll(standInDir) // a temporary folder
	os.Exit(code)
}

// startStandIn starts a provider with an empty ledger. slow is what tok_slow and
// mode slow wait.
func startStandIn(t testing.TB, slow time.Duration) *standIn {
	t.Helper()
	binary, err := buildStandIn()
	if err != nil {
		t.Fatal(err)
	}
	p := &standIn{t: t, key: "sk_test", slow: slow}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(p.key), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-state", filepath.Join(dir, "ledger"), "-key-file", keyFile, "-slow", slow.String())
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := make(chan string, 1)
	drained := make(chan struct{})
	go func() { defer close(drained); readLogs(logs, addr) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("provider: %v", err)
		}
	})
	a, ok := <-addr
	if !ok {
		t.Fatal("the provider did not start")
	}
	p.url = "http://" + a
	return p
}

// readLogs reads the provider's log to its end and sends the address in it.
func readLogs(logs io.Reader, addr chan<- string) {
	defer close(addr)
	lines := bufio.NewScanner(logs)
	for lines.Scan() {
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			addr <- line.Addr
		}
	}
}

// money is what moved for an order, by the provider's own ledger.
type money struct {
	charges, refunds int
	left             int64 // charged and not refunded
}

func (p *standIn) money(order uuid.UUID) (m money) {
	p.t.Helper()
	charges, refunds := p.list("charges", order), p.list("refunds", order)
	m.charges, m.refunds = len(charges), len(refunds)
	for _, c := range charges {
		m.left += c.Amount
	}
	for _, r := range refunds {
		m.left -= r.Amount
	}
	return m
}

type entry struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
}

func (p *standIn) list(what string, order uuid.UUID) []entry {
	p.t.Helper()
	var page struct{ Data []entry }
	p.call(http.MethodGet, "/v1/"+what+"?limit=1000&order_id="+order.String(), "", &page)
	return page.Data
}

// mode switches an outage on or off.
func (p *standIn) mode(mode string) {
	p.t.Helper()
	p.call(http.MethodPost, "/admin/mode", `{"mode":"`+mode+`"}`, &struct{}{})
}

func (p *standIn) call(method, path, body string, answer any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Idempotency-Key", uuid.NewString())
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err := errors.Join(err, json.NewDecoder(res.Body).Decode(answer)); err != nil {
		p.t.Fatalf("provider: %s %s: %v", method, path, err)
	}
}
