package identity

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quadrille.internal/platform/config"
)

// mailbox is the mail provider's stand-in, a process of its own.
type mailbox struct {
	t         *testing.T
	url, smtp string
	dir, key  string
}

var mailDir string

// buildMailbox builds it once for all tests.
var buildMailbox = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mail")
	if err != nil {
		return "", err
	}
	mailDir = dir
	binary := filepath.Join(dir, "mail")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../../local/mail"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the mail provider's stand-in: %w\n%s", err, out)
	}
	return binary, nil
})

func removeMailbox(code int) {
	if mailDir != "" {
		_ = os.RemoveAll(mailDir)
	}
	os.Exit(code)
}

// startMailbox starts one whose waits are long: who waits for it, waits too long.
func startMailbox(t *testing.T) *mailbox {
	t.Helper()
	binary, err := buildMailbox()
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{t: t, dir: t.TempDir(), key: "sk_test"}
	if err := os.WriteFile(filepath.Join(m.dir, "key"), []byte(m.key), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-smtp", "127.0.0.1:0", "-slow", "1m",
		"-state", filepath.Join(m.dir, "state"), "-key-file", filepath.Join(m.dir, "key"))
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("mail: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	lines := bufio.NewReader(logs)
	for m.url == "" {
		text, err := lines.ReadString('\n')
		if err != nil {
			close(drained)
			t.Fatalf("the mail provider's stand-in did not start: %v", err)
		}
		var line struct{ Msg, Addr string }
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "listening" {
			m.url = "http://" + line.Addr
		}
	}
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, lines) }()
	var at struct{ Addr string }
	m.call(http.MethodGet, "/admin/smtp", "", &at)
	m.smtp = "smtp://" + at.Addr
	return m
}

func (m *mailbox) call(method, path, body string, v any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil || res.StatusCode != http.StatusOK {
		m.t.Fatalf("%s %s: %d, %v", method, path, res.StatusCode, err)
	}
}

// mode switches how it behaves.
func (m *mailbox) mode(params string) {
	m.t.Helper()
	m.call(http.MethodPost, "/admin/mode", params, new(json.RawMessage))
}

// received is a mail that was taken.
type received struct {
	MessageID string `json:"message_id"`
	From      string
	Subject   string
	Text      string
}

// mails lists what was taken for an address, oldest first.
func (m *mailbox) mails(to string) []received {
	m.t.Helper()
	var page struct{ Data []received }
	m.call(http.MethodGet, "/v1/messages?limit=1000&to="+url.QueryEscape(to), "", &page)
	return page.Data
}

func (m *mailbox) sender() *sender { return m.hasty(sendTimeout) }

// hasty waits for the provider no longer than that.
func (m *mailbox) hasty(timeout time.Duration) *sender {
	m.t.Helper()
	s, err := newSender(m.smtp, config.Secret(m.key), "shop@shop.example", timeout)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}
