package rest_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/rest"
)

// patience is how long a test waits for anything, on a machine that is busy.
const patience = 5 * time.Minute

// client is one connection of a caller.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func connect(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: conn, in: bufio.NewReader(conn)}
}

// post sends a request with a body that takes several packets.
func (c *client) post(path string) *client {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://shop"+path, strings.NewReader(strings.Repeat("x", 100_000)))
	if err == nil {
		err = r.Write(c.Conn)
	}
	if err != nil {
		c.t.Errorf("send: %v", err)
	}
	return c
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	last   bool // the connection ends with it
	rest.Problem
}

func (c *client) reply() (a reply) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("no whole answer: %v", err)
	}
	a = reply{status: res.StatusCode, header: res.Header, last: res.Close}
	_ = json.Unmarshal(body, &a.Problem) // only problems are
	return a
}

// wantReply reads an answer that must be 204.
func (c *client) wantReply() {
	c.t.Helper()
	if a := c.reply(); a.status != http.StatusNoContent {
		c.t.Errorf("answered %+v, want 204", a)
	}
}

// closed reports whether the server closes the connection. It waits for that if it is to come.
func (c *client) closed(toCome bool) bool {
	c.t.Helper()
	wait := time.Millisecond
	if toCome {
		wait = patience
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		c.t.Fatal(err)
	}
	_, err := c.in.ReadByte()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// server limits its connections. It answers at once, but /slow only when told to.
type server struct {
	addr         string
	limit        *rest.ConnLimit
	asked, reply chan struct{}
}

func serve(t *testing.T, conns int) *server {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		addr: ln.Addr().String(), limit: rest.NewConnLimit(ln, conns),
		asked: make(chan struct{}), reply: make(chan struct{}),
	}
	srv := s.limit.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/slow" {
			s.asked <- struct{}{}
			<-s.reply
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	// No time-out makes room, and none cuts a request on a machine that is busy.
	srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout, srv.IdleTimeout = time.Hour, time.Hour, time.Hour, time.Hour
	done := make(chan error, 1)
	go func() { done <- srv.Serve(s.limit) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
		await(t, "every place is given back", func() bool { return s.limit.Stats().Open == 0 })
	})
	return s
}

// await polls, for what no signal tells.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestNewcomersAreRefusedWhileAllConnectionsAreBusy(t *testing.T) {
	s := serve(t, 1)
	busy := connect(t, s.addr).post("/slow")
	<-s.asked
	for range 300 { // more than are refused at once
		a := connect(t, s.addr).post("/").reply()
		if a.status != 503 || a.Code != "overloaded" || a.header.Get("Retry-After") == "" || !a.last {
			t.Fatalf("answered %+v", a)
		}
	}
	s.reply <- struct{}{}
	if a := busy.reply(); a.status != http.StatusNoContent || !a.last {
		t.Errorf("the busy connection got %+v, want its answer and an end, since others wait", a)
	}
	if !busy.closed(true) {
		t.Error("the connection goes on")
	}
	connect(t, s.addr).post("/").wantReply()
	if st := s.limit.Stats(); st.Refused != 300 || st.Evicted != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestConnectionsStayWhileThereIsRoom(t *testing.T) {
	s := serve(t, 2)
	c := connect(t, s.addr)
	for range 3 {
		if a := c.post("/").reply(); a.status != http.StatusNoContent || a.last {
			t.Fatalf("answered %+v", a)
		}
	}
}

// Idle keep-alive connections on all places turned newcomers away until they
// timed out, which takes two minutes in services, and does not happen here.
func TestTheLongestIdleConnectionGivesWay(t *testing.T) {
	const conns, newcomers = 1_024, 16
	s := serve(t, conns)
	idle := make([]*client, conns)
	for i := range idle {
		if i == conns-1 { // the first is used again, so that the second is idle for longest
			idle[0].post("/").wantReply()
			await(t, "the connection is idle", func() bool { return s.limit.Stats().Idle == int64(i) })
		}
		// The last one may be told to end with its answer, while none can give way yet.
		await(t, "a connection stays", func() bool {
			idle[i] = connect(t, s.addr)
			a := idle[i].post("/").reply()
			return a.status == http.StatusNoContent && !a.last
		})
		await(t, "the connection is idle", func() bool { return s.limit.Stats().Idle == int64(i+1) })
	}
	for range newcomers {
		await(t, "a newcomer stays", func() bool {
			a := connect(t, s.addr).post("/").reply()
			return a.status == http.StatusNoContent && !a.last
		})
	}
	for i, c := range idle {
		if want := i >= 1 && i <= newcomers; c.closed(want) != want {
			t.Errorf("connection %d: closed is %v, want the %d that were idle for longest", i, !want, newcomers)
		}
	}
	if st := s.limit.Stats(); st.Evicted != newcomers || st.Open != conns {
		t.Errorf("stats %+v", st)
	}
}

func TestBusyConnectionsDoNotGiveWay(t *testing.T) {
	s := serve(t, 4)
	busy := []*client{connect(t, s.addr).post("/slow"), connect(t, s.addr).post("/slow")}
	for range busy {
		<-s.asked
	}
	begun := connect(t, s.addr) // a request of which only the beginning is here
	if _, err := io.WriteString(begun, "POST / HTTP/1.1\r\nHost: shop\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		await(t, "the newcomer is served", func() bool {
			return connect(t, s.addr).post("/").reply().status == http.StatusNoContent
		})
	}
	if _, err := io.WriteString(begun, "Content-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	begun.wantReply()
	for range busy {
		s.reply <- struct{}{}
	}
	for _, c := range busy {
		c.wantReply()
	}
}

// The second of two requests that come together is read with the first.
func TestAPipelinedRequestDoesNotGiveWay(t *testing.T) {
	s := serve(t, 2)
	busy := connect(t, s.addr)
	if _, err := io.WriteString(busy, "GET / HTTP/1.1\r\nHost: shop\r\n\r\nGET /slow HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-s.asked
	other := connect(t, s.addr).post("/slow")
	<-s.asked
	if st := s.limit.Stats(); st.Idle != 0 {
		t.Errorf("stats %+v while requests are under way", st)
	}
	if a := connect(t, s.addr).post("/").reply(); a.status != http.StatusServiceUnavailable {
		t.Errorf("a newcomer got %+v, want 503", a)
	}
	s.reply <- struct{}{}
	s.reply <- struct{}{}
	busy.wantReply()
	busy.wantReply()
	other.wantReply()
}

// Connections that were opened and send nothing hold their place for a second.
func TestSilentConnectionsGiveWay(t *testing.T) {
	s := serve(t, 3)
	for range 3 {
		connect(t, s.addr)
	}
	await(t, "a newcomer is served", func() bool {
		return connect(t, s.addr).post("/").reply().status == http.StatusNoContent
	})
}

// More clients than places, each with requests and pauses of its own: every request
// gets an answer, though nothing here may be sent again by itself, and nobody is shut
// out. A busy process reads a request late; until then its connection looks idle.
func TestConnectionsTakeTurns(t *testing.T) {
	s := serve(t, 8)
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			web := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer web.CloseIdleConnections()
			for served := 0; served < 20; {
				res, err := web.Post("http://"+s.addr+"/", "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Errorf("a request was cut: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body) // or the connection is not used again
				_ = res.Body.Close()
				if res.StatusCode == http.StatusNoContent {
					served++
				}
			}
		})
	}
	clients.Wait()
}

// rush is a listener at which somebody new stands until it is closed.
type rush struct{ closed chan struct{} }

func (r rush) Accept() (net.Conn, error) {
	select {
	case <-r.closed:
		return nil, net.ErrClosed
	default:
		here, there := net.Pipe()
		_ = there.Close()
		return here, nil
	}
}
func (r rush) Close() error   { close(r.closed); return nil }
func (r rush) Addr() net.Addr { return &net.TCPAddr{} }

// Fails under the race detector.
func TestConnLimit_ClosesWhileNewcomersAreRefused(t *testing.T) {
	for range 200 {
		limit := rest.NewConnLimit(rush{make(chan struct{})}, 0)
		ended := make(chan error, 1)
		go func() {
			_, err := limit.Accept() // with no place at all, it returns with the end only
			ended <- err
		}()
		await(t, "newcomers are refused", func() bool { return limit.Stats().Refused > 0 })
		if err := limit.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("accept ends with %v, want %v", err, net.ErrClosed)
		}
	}
}
