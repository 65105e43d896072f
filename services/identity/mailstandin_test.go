package identity

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/servicetest"
)

// mailbox is the mail provider's stand-in.
type mailbox struct {
	servicetest.StandIn
	t    *testing.T
	smtp string
}

// startMailbox starts one whose waits are long: who waits for it, waits too long.
func startMailbox(t *testing.T) *mailbox {
	t.Helper()
	m := &mailbox{StandIn: servicetest.StartStandIn(t, "../../local/mail", "-smtp", "127.0.0.1:0", "-slow", "1m"), t: t}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	var at struct{ Addr string }
	m.call(http.MethodGet, "/admin/smtp", "", &at)
	m.smtp = "smtp://" + at.Addr
	return m
}

func (m *mailbox) call(method, path, body string, v any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.URL+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Key)
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
	s, err := newSender(m.smtp, config.Secret(m.Key), "shop@shop.example", timeout)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}
