package rest_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/rest"
)

// visit opens a connection of its own and sends a request with a body that takes
// several packets.
func visit(t *testing.T, addr string) *visitor {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, Conn: conn, in: bufio.NewReader(conn)}
	v.ask()
	return v
}

type visitor struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (v *visitor) ask() {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, "http://shop/v1/orders", strings.NewReader(strings.Repeat("x", 100_000)))
	if err == nil {
		err = r.Write(v.Conn)
	}
	if err != nil {
		v.t.Errorf("ask: %v", err)
	}
}

// told is an answer, read whole.
type told struct {
	status int
	header http.Header
	last   bool // the connection ends with it
	rest.Problem
}

func (v *visitor) answer() (a told) {
	v.t.Helper()
	res, err := http.ReadResponse(v.in, nil)
	if err != nil {
		v.t.Fatalf("no answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatalf("no whole answer: %v", err)
	}
	a = told{status: res.StatusCode, header: res.Header, last: res.Close}
	_ = json.Unmarshal(body, &a.Problem) // only problems are
	return a
}

// shop serves behind a door for n; requests are answered once told so.
func shop(t *testing.T, n int) (addr string, asked, answer chan struct{}) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := rest.NewDoor(ln, n)
	asked, answer = make(chan struct{}), make(chan struct{})
	srv := rest.NewServer(door.GiveWay(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusNoContent)
	})))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(door) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return ln.Addr().String(), asked, answer
}

func TestDoorTurnsAwayWhoeverComesWhenItIsFull(t *testing.T) {
	addr, asked, answer := shop(t, 1)
	inside := visit(t, addr)
	<-asked
	for range 300 { // more than are turned away at once
		if a := visit(t, addr).answer(); a.status != 503 || a.Code != "overloaded" || a.header.Get("Retry-After") == "" || !a.last {
			t.Fatalf("told %+v", a)
		}
	}
	answer <- struct{}{}
	if a := inside.answer(); a.status != http.StatusNoContent || !a.last {
		t.Errorf("who was inside was told %+v, and the door is full", a)
	}
	if _, err := inside.in.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	next := visit(t, addr) // there is room now
	<-asked
	answer <- struct{}{}
	if a := next.answer(); a.status != http.StatusNoContent {
		t.Errorf("who came next was told %+v", a)
	}
}

func TestDoorLetsConnectionsStayWhileThereIsRoom(t *testing.T) {
	addr, asked, answer := shop(t, 2)
	v := visit(t, addr)
	for range 2 {
		<-asked
		answer <- struct{}{}
		if a := v.answer(); a.status != http.StatusNoContent || a.last {
			t.Fatalf("told %+v", a)
		}
		v.ask()
	}
	<-asked
	answer <- struct{}{}
}
