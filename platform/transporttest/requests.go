package transporttest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/httpcall"
)

// listen serves HTTP requests until the process stops.
func (p *process) listen() *httpcall.Listener {
	l := httpcall.NewListener()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			p.t.Errorf("read the body of %s: %v", r.URL, err)
		}
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, r.Method, " ", r.URL, " ") //nolint:gosec // no browser reads it
		if err := http.NewResponseController(w).Flush(); err != nil {
			p.t.Errorf("flush the answer to %s: %v", r.URL, err)
		}
		if r.URL.Path == "/v1/wait" {
			<-r.Context().Done() // the caller has what was flushed, and goes away
			return
		}
		_, _ = w.Write(body) // a caller that went away needs no answer
	})}
	p.run(func(ctx context.Context) error {
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(l) }()
		<-ctx.Done()
		_ = server.Close()
		<-served
		return nil
	})
	return l
}

// A request reaches the service that it names, whole, and so does the answer, each part when
// it was written. Who does not declare it makes none.
func requests(t *testing.T, h Harness) {
	w := newWorld(t, h)
	p := w.start(map[string]*subscriber{"gateway": w.subscriber(nil), "payment": w.subscriber(nil), "order": w.subscriber(nil)})
	large := strings.Repeat("x", 200_000)
	for _, c := range []struct{ from, path, body, want string }{
		{"gateway", "/v1/orders/a%20b?x=1", large, "POST /v1/orders/a%20b?x=1 " + large},
		{"gateway", "/v1/orders", "", "POST /v1/orders "},
		{"gateway", "/v1/wait", "", "POST /v1/wait "},
		{"payment", "/v1/orders", "", ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), h.again())
		got, err := p.ask(ctx, c.from, c.path, c.body, len(c.want))
		cancel()
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s asks for %s: %.100q, %v, want %.100q", c.from, c.path, got, err, c.want)
		}
	}
}

// ask returns the first bytes of an answer of order.
func (p *process) ask(ctx context.Context, from, path, body string, n int) (string, error) {
	transport := httpcall.NewTransport(p.joined[from].Dial)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://order"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusTeapot {
		return "", fmt.Errorf("order answers %s", res.Status)
	}
	answer := make([]byte, n)
	_, err = io.ReadFull(res.Body, answer)
	return string(answer), err
}
