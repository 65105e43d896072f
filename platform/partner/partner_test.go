package partner_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/partner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, answer http.HandlerFunc) (*partner.Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return client(server.URL, time.Minute), server
}

func client(url string, timeout time.Duration) *partner.Client {
	return partner.New(partner.Config{URL: url + "/api", Key: "secret", Timeout: timeout, MaxConns: 4, MaxAnswer: 16})
}

func TestDo(t *testing.T) {
	var got *http.Request
	var sent string
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the test looks at what came
		got, sent = r, string(body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	})
	a, err := c.Do(t.Context(), partner.Request{
		Method: http.MethodPost, Path: "/v1/orders", Body: map[string]int{"n": 1},
		Header: map[string]string{"If-None-Match": "*", "Traceparent": ""},
	})
	if err != nil || a.Status != http.StatusTeapot || a.Header.Get("Retry-After") != "7" || string(a.Body) != strings.Repeat("x", 16) {
		t.Errorf("answer %+v, %v, want status 418 and 16 bytes", a, err)
	}
	_, traced := got.Header["Traceparent"]
	if got.URL.Path != "/api/v1/orders" || sent != `{"n":1}` || got.Header.Get("Authorization") != "Bearer secret" ||
		got.Header.Get("Content-Type") != "application/json" || got.Header.Get("If-None-Match") != "*" || traced {
		t.Errorf("sent %s %s %v", got.URL, sent, got.Header)
	}
	if _, err := c.Do(t.Context(), partner.Request{Method: http.MethodGet, Path: "/v1/orders"}); err != nil || sent != "" || got.Header.Get("Content-Type") != "" {
		t.Errorf("a request without a body: sent %q %v, %v", sent, got.Header, err)
	}
}

// A redirect is an answer: our key and the body go nowhere else.
func TestRedirectsAreNotFollowed(t *testing.T) {
	calls := 0
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	a, err := c.Do(t.Context(), partner.Request{Method: http.MethodPost, Path: "/", Body: 1})
	if err != nil || a.Status != http.StatusTemporaryRedirect || calls != 1 {
		t.Errorf("status %d after %d calls, %v, want the redirect itself", a.Status, calls, err)
	}
}

// What provably stayed here is told from what the partner may have carried out.
func TestUnsent(t *testing.T) {
	_, silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not noticed
		<-r.Context().Done()
	})
	cut, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	})
	half, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "five.")
	})
	well, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name   string
		client *partner.Client
		body   any
		unsent bool
	}{
		{"nobody listens", client("http://127.0.0.1:1", time.Minute), 1, true},
		{"no address", client("http://[::1", time.Minute), 1, true},
		{"a body that is no JSON", well, func() {}, true},
		{"no answer in time", client(silent.URL, 2*time.Second), 1, false},
		{"the connection is cut", cut, 1, false},
		{"the answer is cut", half, 1, false},
	} {
		_, err := c.client.Do(t.Context(), partner.Request{Method: http.MethodPost, Path: "/v1/charges", Body: c.body})
		if _, unsent := errors.AsType[*partner.UnsentError](err); err == nil || unsent != c.unsent {
			t.Errorf("%s: error %v, unsent %v, want %v", c.name, err, unsent, c.unsent)
		}
	}
}
