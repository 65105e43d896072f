package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
)

// A service that hangs is left alone after a few requests, its callers are answered at once,
// and others are not hurt.
func TestAServiceThatHangsHurtsNoOthers(t *testing.T) {
	s := open(t, map[string]string{
		"QUADRILLE_SERVICE_TIMEOUT": "10s", "QUADRILLE_BREAK_AFTER": "3", "QUADRILLE_BREAK_FOR": "1h", "QUADRILLE_UNDER_WAY": "4",
	})
	var asked atomic.Int64
	s.service("cart", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var all sync.WaitGroup
	for n := range 3 {
		all.Go(func() {
			if status, answer := s.get("/v1/carts"); status != http.StatusGatewayTimeout || !strings.Contains(answer, "service_unanswered") {
				t.Errorf("request %d to a service that hangs: %d %s", n, status, answer)
			}
		})
		if status, _ := s.get("/v1/orders"); status != http.StatusOK {
			t.Errorf("another service: %d", status)
		}
	}
	all.Wait()
	if status, answer := s.get("/v1/carts"); status != http.StatusServiceUnavailable || !strings.Contains(answer, "service_away") {
		t.Errorf("while it is left alone: %d %s", status, answer)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the service was asked %d times, want 3", n)
	}
}

// A service that answers again does so through the gateway too, which had left it alone.
func TestAServiceThatAnswersAgain(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_BREAK_AFTER": "1", "QUADRILLE_BREAK_FOR": "1s"})
	var answers atomic.Bool
	s.service("cart", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if !answers.Load() {
			panic(http.ErrAbortHandler)
		}
	}))
	if status, answer := s.get("/v1/carts"); status != http.StatusGatewayTimeout {
		t.Errorf("a service that does not answer: %d %s", status, answer)
	}
	answers.Store(true)
	servicetest.Await(t, "the service answers again", func() bool {
		status, _ := s.get("/v1/carts")
		return status == http.StatusOK
	})
}

// Requests to one service take a bounded number of places; the next is told to come again.
func TestOneServiceTakesABoundedNumberOfPlaces(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_UNDER_WAY": "2"})
	entered, release := make(chan struct{}, 2), make(chan struct{})
	s.service("cart", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release }))
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if status, _ := s.get("/v1/carts"); status != http.StatusOK {
				t.Errorf("one of two: %d", status)
			}
		})
		<-entered
	}
	if status, _ := s.get("/v1/carts"); status != http.StatusServiceUnavailable {
		t.Errorf("the third: %d", status)
	}
	if status, _ := s.get("/v1/orders"); status != http.StatusOK {
		t.Errorf("another service: %d", status)
	}
	close(release)
	all.Wait()
}

// A POST whose connection breaks is not sent again, whatever it calls itself; its client is
// told that it may have been carried out. A service that is not there was not asked.
func TestWhatIsNotIdempotentIsSentOnce(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_BREAK_AFTER": "100"})
	var times atomic.Int32
	s.service("order", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/orders/ok" {
			return // leaves a connection that is kept, on which net/http would repeat
		}
		times.Add(1)
		panic(http.ErrAbortHandler)
	}))
	for _, headers := range []string{"", "Idempotency-Key: k\r\n", "X-Idempotency-Key: k\r\n"} {
		for _, body := range []string{"", `{"a":1}`} {
			if status, _ := s.get("/v1/orders/ok"); status != http.StatusOK {
				t.Fatalf("the first request: %d", status)
			}
			times.Store(0)
			status, answer := s.raw(fmt.Sprintf("POST /v1/orders/1/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", len(body), headers, body))
			if status != http.StatusGatewayTimeout || !strings.Contains(answer, "service_unanswered") || times.Load() != 1 {
				t.Errorf("%q with body %q: %d %s, the service got it %d times", headers, body, status, answer, times.Load())
			}
		}
	}
	if status, answer := s.raw("POST /v1/carts HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); status != http.StatusServiceUnavailable || !strings.Contains(answer, "was not asked") {
		t.Errorf("a service that is not there: %d %s", status, answer)
	}
}

// Bombs of headers and bodies are refused before a service sees them; so are clients that
// send so slowly that they would hold a place for ever.
func TestBombs(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_MAX_BODY": "4096"})
	asked := make(chan struct{}, 10)
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	post := "POST /v1/orders HTTP/1.1\r\nHost: x\r\n"
	for what, c := range map[string]struct {
		text string
		want int
	}{
		"a long header":    {"GET /v1/orders HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"many headers":     {"GET /v1/orders HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 8<<10) + "\r\n", 431},
		"a long path":      {"GET /v1/orders/" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		"a body announced": {post + "Content-Length: 1000000\r\n\r\n", 413},
		"a body in chunks": {post + "Transfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("a", 8<<10) + "\r\n", 413},
		"two lengths":      {post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		"length and chunk": {post + "Content-Length: 1\r\nTransfer-Encoding: gzip, chunked\r\n\r\na", 501},
	} {
		if status, answer := s.raw(c.text); status != c.want {
			t.Errorf("%s: %d %s, want %d", what, status, answer, c.want)
		}
	}
	if len(asked) > 0 {
		t.Error("the service was asked")
	}
}

// What is no request that could be read never comes to the gateway: net/http refuses it in plain text, and closes the
// connection. docs/openapi.yaml says so (Problems).
func TestWhatCannotBeReadIsRefusedInPlainText(t *testing.T) {
	s := open(t, nil)
	for what, c := range map[string]struct {
		text string
		want int
	}{
		"no HTTP":                 {"hello\r\n\r\n", 400},
		"no host":                 {"GET / HTTP/1.1\r\n\r\n", 400},
		"a header of bad letters": {"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400},
		"long headers":            {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"an unknown coding":       {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		"another version":         {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505},
	} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, c.text); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if kind := res.Header.Get("Content-Type"); res.StatusCode != c.want || kind != "text/plain; charset=utf-8" || !res.Close {
			t.Errorf("%s: %s of %s, closes %v; want %d", what, res.Status, kind, res.Close, c.want)
		}
		_, _ = res.Body.Close(), conn.Close()
	}
}

// While clients send headers and bodies byte by byte, others are served, and the slow ones
// hold neither places at the service nor more connections than an address may have.
func TestSlowClientsTakeNoPlaces(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_UNDER_WAY": "1", "QUADRILLE_CONNECTIONS_OF_ADDRESS": "21"})
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	slow := func(text string) net.Conn {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 10 {
		slow("POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		slow("GET /v1/orders HTTP/1.1\r\nHost: x\r\nX-A: ")
	}
	for n := range 5 { // all on the one connection that the address may have besides
		res, err := s.client.Get("http://" + s.addr + "/v1/orders")
		if err != nil {
			t.Fatalf("request %d beside slow ones: %v", n, err)
		}
		if _ = res.Body.Close(); res.StatusCode != http.StatusOK {
			t.Errorf("request %d beside slow ones: %s", n, res.Status)
		}
	}
	c := slow("GET /v1/orders HTTP/1.1\r\n") // one connection too many is closed
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection beyond what one address may have: %v", err)
	}
	begun := slow("")
	_ = begun.Close()
}

// An event stream arrives event by event, outlives every time-out of other answers, takes no
// place at its service, and ends when its reader goes. So many may be open and no more.
func TestEventStreams(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_SERVICE_TIMEOUT": "5s", "QUADRILLE_UNDER_WAY": "1", "QUADRILLE_STREAMS": "2"})
	gone, next := make(chan struct{}, 3), make(chan struct{})
	s.service("cart", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/carts/1" {
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for n := 0; ; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			if control.Flush() != nil {
				break
			}
			select {
			case <-next:
			case <-r.Context().Done():
				gone <- struct{}{}
				return
			}
		}
	}))
	read := func() (*http.Response, *bufio.Reader) {
		res, err := s.client.Get("http://" + s.addr + "/v1/carts/1/stock")
		if err != nil {
			t.Fatal(err)
		}
		return res, bufio.NewReader(res.Body)
	}
	event := func(r *bufio.Reader, want string) {
		t.Helper()
		line, err := r.ReadString('\n')
		if blank, _ := r.ReadString('\n'); err != nil || line != "data: "+want+"\n" || blank != "\n" {
			t.Errorf("got %q, %v, want %s", line, err, want)
		}
	}
	first, events := read()
	event(events, "0")
	second, others := read()
	event(others, "0")
	servicetest.Await(t, "the time-out of other answers is over", func() bool {
		status, _ := s.get("/v1/carts/1")
		return status == http.StatusOK && time.Now().After(parseDate(first).Add(5*time.Second))
	})
	next <- struct{}{}
	next <- struct{}{}
	event(events, "1")
	event(others, "1")
	third, _ := read()
	if body, _ := io.ReadAll(third.Body); third.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "streams_full") {
		t.Errorf("a stream too many: %d %s", third.StatusCode, body)
	}
	_ = third.Body.Close()
	<-gone
	_ = first.Body.Close()
	<-gone
	servicetest.Await(t, "the place of a stream is free", func() bool { return s.gateway.counts.streams.Load() == 1 })
	_ = second.Body.Close()
	<-gone
}

// Readers that take no answer, or little of it at a time, hold no places at the service: it is done
// with them once the gateway has what it answered.
func TestSlowReadersTakeNoPlaces(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_UNDER_WAY": "2"})
	asked := make(chan struct{}, 6)
	s.service("order", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "large" {
			asked <- struct{}{}
			_, _ = io.WriteString(w, strings.Repeat("x", 200<<10))
		}
	}))
	for range 6 {
		c := s.dialSmall()
		if _, err := io.WriteString(c, "GET /v1/orders?large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-asked
		servicetest.Await(t, "the service is done with a reader who takes nothing", func() bool {
			return len(s.gateway.targets.get("order").places) == 0
		})
	}
	if status, answer := s.get("/v1/orders"); status != http.StatusOK {
		t.Errorf("beside slow readers: %d %s", status, answer)
	}
}

// dialSmall is a connection of which little waits in the kernel.
func (s *shop) dialSmall() net.Conn {
	s.t.Helper()
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1<<10) })
	}}
	c, err := small.DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A service that begins to answer and goes no further is one that does not answer: its place is
// free after the time-out, and its breaker hears of it.
func TestAServiceThatStopsWithinItsAnswer(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_SERVICE_TIMEOUT": "5s", "QUADRILLE_UNDER_WAY": "1", "QUADRILLE_BREAK_AFTER": "100"})
	s.service("order", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"orders":[`)
		if r.URL.RawQuery == "hang" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	began := time.Now()
	status, answer := s.get("/v1/orders?hang")
	if took := time.Since(began); status != http.StatusGatewayTimeout || !strings.Contains(answer, "service_unanswered") || took >= restTimeout {
		t.Errorf("%d %s after %v", status, answer, took)
	}
	if status, answer := s.get("/v1/orders"); status != http.StatusOK {
		t.Errorf("the next request: %d %s", status, answer)
	}
}

// timedWriter notes until when each write may last.
type timedWriter struct {
	*httptest.ResponseRecorder
	until []time.Time
}

func (w *timedWriter) SetWriteDeadline(at time.Time) error {
	w.until = append(w.until, at)
	return nil
}

// Each write of an event stream has its own time: the stream outlives that of other answers, and
// a reader who takes nothing holds it for a bounded one. Other answers have that of the server.
func TestEachWriteOfAStreamHasItsOwnTime(t *testing.T) {
	for endless, writes := range map[bool]int{true: 2, false: 0} {
		w := &timedWriter{ResponseRecorder: httptest.NewRecorder()}
		s := &stream{ResponseWriter: w, control: http.NewResponseController(w)}
		if endless {
			s.free = func() {}
		}
		began := time.Now()
		for range 2 {
			if _, err := s.Write([]byte("data: 1\n\n")); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.until) != writes {
			t.Errorf("endless %v: %d of 2 writes have a time", endless, len(w.until))
		}
		for _, until := range w.until {
			if left := until.Sub(began); left < streamWriteTimeout || left > streamWriteTimeout+time.Minute {
				t.Errorf("a write may last %v", left)
			}
		}
	}
}

// parseDate is when an answer began, to the second, rounded up.
func parseDate(res *http.Response) time.Time {
	at, _ := http.ParseTime(res.Header.Get("Date"))
	return at.Add(time.Second)
}

// A caller that goes away says nothing of the service.
func TestCallersThatGoAwayOpenNoBreaker(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_BREAK_AFTER": "1"})
	entered := make(chan struct{}, 8) // of all calls, so that none waits for a test that has ended
	s.service("order", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "wait" {
			entered <- struct{}{}
			<-r.Context().Done()
			entered <- struct{}{}
		}
	}))
	come := func(what string) {
		t.Helper()
		select {
		case <-entered:
		case <-time.After(patience):
			t.Fatalf("the service is not %s", what)
		}
	}
	for range 3 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /v1/orders?wait HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		come("asked")
		_ = c.Close()
		come("told that the caller is gone")
	}
	if status, answer := s.get("/v1/orders"); status != http.StatusOK {
		t.Errorf("after callers went away: %d %s", status, answer)
	}
}
