package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quadrille.internal/local/psp/ledger"
)

const testKey = "sk_test"

// provider is a running server with its state file, and a client of it. The
// client opens a connection per request: on a reused one net/http retries a
// cut request by itself, because of its Idempotency-Key.
type provider struct {
	t      testing.TB
	cfg    config
	url    string
	client *http.Client
	stop   func() error
}

func startProvider(t testing.TB) *provider {
	t.Helper()
	dir := t.TempDir()
	cfg := config{
		addr:      "127.0.0.1:0",
		stateFile: filepath.Join(dir, "ledger.jsonl"),
		keyFile:   filepath.Join(dir, "key"),
		slow:      10 * time.Millisecond,
	}
	if err := os.WriteFile(cfg.keyFile, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, cfg: cfg, client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
	p.start()
	return p
}

func (p *provider) start() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	address := make(chan net.Addr, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, p.cfg, slog.New(slog.DiscardHandler), func(a net.Addr) { address <- a })
	}()
	select {
	case a := <-address:
		p.url = "http://" + a.String()
	case err := <-ended:
		cancel()
		p.t.Fatalf("start: %v", err)
	}
	stopped := false
	p.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	stop := p.stop
	p.t.Cleanup(func() { _ = stop() })
}

func (p *provider) restart() {
	p.t.Helper()
	if err := p.stop(); err != nil {
		p.t.Fatalf("stop: %v", err)
	}
	p.start()
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code() string {
	var e struct {
		Error apiError `json:"error"`
	}
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Error.Code
}

func (a answer) param() string {
	var e struct {
		Error apiError `json:"error"`
	}
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Error.Param
}

func (p *provider) do(ctx context.Context, method, path, key, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewBufferString(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	if key != "" {
		req.Header.Set(idempotencyHeader, key)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(raw)}, err
}

// must reports a missing answer without ending the test: it also runs in
// goroutines, which may not.
func (p *provider) must(method, path, key, body string) answer {
	p.t.Helper()
	a, err := p.do(p.t.Context(), method, path, key, body)
	if err != nil {
		p.t.Errorf("%s %s: %v", method, path, err)
	}
	return a
}

func (p *provider) charge(key, body string) answer {
	p.t.Helper()
	return p.must(http.MethodPost, "/v1/charges", key, body)
}

func (p *provider) refund(key, body string) answer {
	p.t.Helper()
	return p.must(http.MethodPost, "/v1/refunds", key, body)
}

// succeeded makes a charge that must succeed.
func (p *provider) succeeded(key, body string) ledger.Charge {
	p.t.Helper()
	a := p.charge(key, body)
	if a.status != http.StatusOK {
		p.t.Fatalf("charge: %d %s", a.status, a.body)
	}
	return parse[ledger.Charge](p.t, a)
}

func (p *provider) charges(query string) []ledger.Charge {
	p.t.Helper()
	a := p.must(http.MethodGet, "/v1/charges?limit=1000&"+query, "", "")
	return parse[struct{ Data []ledger.Charge }](p.t, a).Data
}

func (p *provider) summary() ledger.Summary {
	p.t.Helper()
	return parse[ledger.Summary](p.t, p.must(http.MethodGet, "/v1/ledger/summary", "", ""))
}

func parse[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("decode %q: %v", a.body, err)
	}
	return v
}

func chargeBody(source, orderID string) string {
	return fmt.Sprintf(`{"amount":1000,"currency":"GBP","source":%q,"metadata":{"order_id":%q}}`, source, orderID)
}

func refundBody(chargeID string, amount int64) string {
	return fmt.Sprintf(`{"charge":%q,"amount":%d}`, chargeID, amount)
}

func expect(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Fatalf("answer %d %s, want %d %s", a.status, a.body, status, code)
	}
}
