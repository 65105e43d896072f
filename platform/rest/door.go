package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"quadrille.internal/platform/fault"
)

const (
	// turningAway bounds the connections that are being turned away at once, and
	// leaveTime how long each of them may take. More wait in the kernel's queue.
	turningAway = 256
	leaveTime   = time.Second
	// A crowd that is told to come back is spread over so many seconds.
	comeBackWithin = 8
)

// Door is a listener that lets in so many connections at once. Whoever comes when
// it is full gets a 503 and is let go, instead of waiting unanswered until
// somebody leaves. Each connection that is let in costs its buffers and stacks
// for as long as it stays; that is what n bounds.
type Door struct {
	net.Listener
	inside  chan struct{}
	leaving chan struct{}
	turned  sync.WaitGroup
}

// NewDoor returns a Door in front of ln that lets in n connections.
func NewDoor(ln net.Listener, n int) *Door {
	return &Door{Listener: ln, inside: make(chan struct{}, n), leaving: make(chan struct{}, turningAway)}
}

// Accept returns the next connection there is room for.
func (d *Door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case d.inside <- struct{}{}:
			return &guest{Conn: c, leave: sync.OnceFunc(func() { <-d.inside })}, nil
		default:
		}
		d.leaving <- struct{}{}
		d.turned.Go(func() {
			defer func() { <-d.leaving }()
			turnAway(c)
		})
	}
}

// turnAway answers a connection's first request, whatever it is. What the caller
// sends is read first and afterwards: closing with something unread would reset
// the connection, and the answer would be lost with it.
func turnAway(c net.Conn) {
	defer c.Close()
	var begin [512]byte
	if c.SetDeadline(time.Now().Add(leaveTime)) != nil {
		return
	}
	if _, err := c.Read(begin[:]); err != nil {
		return
	}
	if _, err := c.Write(full()); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, MaxBody) // until the caller hangs up, which ends with an error
	}
}

// full is the answer of a full door.
func full() []byte {
	f := overloaded()
	body, _ := json.Marshal(problemOf(f, "")) // strings and a number
	res := http.Response{
		StatusCode: Status(f.Kind), ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header:        http.Header{"Content-Type": {problemType}, "Retry-After": {comeBack()}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	var b bytes.Buffer
	_ = res.Write(&b) // a buffer takes everything
	return b.Bytes()
}

func overloaded() *fault.Fault {
	return fault.New(fault.Unavailable, "overloaded", "Too many requests are under way; try again shortly.")
}

// comeBack is a Retry-After for one of many: a crowd that came at once must not
// come back at once.
func comeBack() string {
	return strconv.Itoa(1 + rand.IntN(comeBackWithin)) //nolint:gosec // spreading needs no secrecy
}

// Limit answers 503 with Retry-After once more than n requests are under way,
// so that an edge under a burst sheds load instead of falling over.
func Limit(n int) func(http.Handler) http.Handler {
	tokens := make(chan struct{}, n)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case tokens <- struct{}{}:
				defer func() { <-tokens }()
				next.ServeHTTP(w, r)
			default:
				w.Header().Set("Retry-After", comeBack())
				WriteProblem(w, r, overloaded())
			}
		})
	}
}

// Close ends accepting, and waits for those being turned away.
func (d *Door) Close() error {
	err := d.Listener.Close()
	d.turned.Wait()
	return err
}

// GiveWay ends connections after their answer for as long as the door is full, so
// that everybody gets a turn and not only who came first.
func (d *Door) GiveWay(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(d.inside) == cap(d.inside) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// guest is a connection that was let in.
type guest struct {
	net.Conn
	leave func()
}

// Close makes room for another, who may come as soon as the connection ends.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}
