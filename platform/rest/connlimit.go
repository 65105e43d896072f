package rest

import (
	"bytes"
	"container/list"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// refusingAtOnce bounds the connections that are being refused at once, and
	// refuseTimeout how long each of them may take. More wait in the kernel's queue.
	refusingAtOnce = 256
	refuseTimeout  = time.Second
	// leastIdle is how long a connection must have sent nothing before it may be closed
	// for a newcomer. Its next request may be here already, and a busy process reads it
	// late.
	leastIdle = time.Second
)

// ConnLimit is a listener that holds a limited number of connections open. When
// all are taken, a newcomer takes the place of the connection that has been idle
// for longest, which is closed. While none can, newcomers get a 503 at once,
// instead of waiting without an answer. Each open connection costs its buffers
// and stacks; that is what the limit bounds.
//
// A connection is idle between an answer and the first byte of the next request
// that this process reads, and gives way once it has been so for a second. One that is
// closed just as a request arrives is the race that HTTP has with every keep-alive
// time-out: the client sees that it got no answer, and sends again (RFC 9112, 9.3.1). A
// request under way is never cut.
type ConnLimit struct {
	net.Listener
	max      int
	refusing chan struct{}
	refused  sync.WaitGroup // counts up only while not closed

	mu     sync.Mutex
	closed bool
	open   int
	stats  ConnStats
	// idle holds connections that wait for their next request, fresh those that
	// have sent nothing yet; the longest waiting first.
	idle, fresh list.List
}

// ConnStats are counts: Open and Idle of now, the others since the start.
type ConnStats struct {
	Open    int64 // connections
	Idle    int64 // those that wait for their next request
	Refused int64 // newcomers that got a 503
	Evicted int64 // idle connections that were closed for a newcomer
}

// NewConnLimit returns a listener that accepts from ln and holds at most n
// connections. Serve it with the server that its method Server returns.
func NewConnLimit(ln net.Listener, n int) *ConnLimit {
	return &ConnLimit{Listener: ln, max: n, refusing: make(chan struct{}, refusingAtOnce)}
}

// Server returns an HTTP server, as NewServer does, that tells the limit which
// connections are idle. While the limit is reached and none can give way, connections
// end after their answer, so that everyone gets a turn and not only the first.
func (l *ConnLimit) Server(h http.Handler) *http.Server {
	srv := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*limitedConn); ok {
			l.setBusy(c) // a pipelined request was read with the one before
		}
		if l.crowded() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	}))
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, nc)
	}
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		if c, ok := nc.(*limitedConn); ok && state == http.StateIdle {
			l.setIdle(c)
		}
	}
	return srv
}

// connKey is where a request's context has its connection.
type connKey struct{}

// Stats returns the counts.
func (l *ConnLimit) Stats() ConnStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Open, s.Idle = int64(l.open), int64(l.idle.Len())
	return s
}

// Accept returns the next connection that has a place.
func (l *ConnLimit) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, evicted := l.admit(nc, time.Now())
		if evicted != nil {
			_ = evicted.Conn.Close() // its place is taken already
		}
		if c != nil {
			return c, nil
		}
		l.refusing <- struct{}{}
		if !l.beginRefusing() {
			_ = nc.Close()
			return nil, net.ErrClosed
		}
		go func() {
			defer l.refused.Done()
			defer func() { <-l.refusing }()
			refuse(nc)
		}()
	}
}

// beginRefusing counts one more newcomer that is being refused, unless Close may already
// wait for the last. The caller owes a refused.Done.
func (l *ConnLimit) beginRefusing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.refused.Add(1)
	return true
}

// admit gives nc a free place, or that of the connection which is idle for longest
// and returned to be closed. It returns nil where no connection can give way.
func (l *ConnLimit) admit(nc net.Conn, now time.Time) (admitted, evicted *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == l.max {
		evicted = l.longestIdle(now)
		if evicted == nil {
			l.stats.Refused++
			return nil, nil
		}
		l.forget(evicted)
		l.stats.Evicted++
	}
	l.open++
	c := &limitedConn{Conn: nc, limit: l, since: now, list: &l.fresh}
	c.place = l.fresh.PushBack(c)
	return c, evicted
}

func (l *ConnLimit) longestIdle(now time.Time) *limitedConn {
	for _, waiting := range []*list.List{&l.idle, &l.fresh} {
		if e := waiting.Front(); e != nil {
			if c := e.Value.(*limitedConn); now.Sub(c.since) >= leastIdle {
				return c
			}
		}
	}
	return nil
}

func (l *ConnLimit) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open == l.max && l.longestIdle(time.Now()) == nil
}

func (l *ConnLimit) setIdle(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place == nil && !c.gone {
		c.list, c.since = &l.idle, time.Now()
		c.place = l.idle.PushBack(c)
	}
}

func (l *ConnLimit) setBusy(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlist(c)
}

// unlist wants the lock.
func (l *ConnLimit) unlist(c *limitedConn) {
	if c.place != nil {
		c.list.Remove(c.place)
		c.place = nil
	}
}

// forget frees the place of a connection, once. It wants the lock.
func (l *ConnLimit) forget(c *limitedConn) {
	if !c.gone {
		c.gone = true
		l.open--
		l.unlist(c)
	}
}

// Close ends accepting, and waits for those being refused.
func (l *ConnLimit) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	err := l.Listener.Close()
	l.refused.Wait()
	return err
}

// limitedConn is an open connection. The limit's lock guards its fields.
type limitedConn struct {
	net.Conn
	limit *ConnLimit
	since time.Time     // it was accepted, or has been idle
	list  *list.List    // that it is in while it waits for a request
	place *list.Element // within list, or nil while it is busy
	gone  bool
}

// Read marks the connection as busy once a byte of a request is here.
func (c *limitedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.limit.setBusy(c)
	}
	return n, err
}

// Close frees the place, which another may take at once.
func (c *limitedConn) Close() error {
	c.limit.mu.Lock()
	c.limit.forget(c)
	c.limit.mu.Unlock()
	return c.Conn.Close()
}

// refuse answers a connection's first request, whatever it is. What the caller
// sends is read first and afterwards: closing with something unread would reset
// the connection, and the answer would be lost with it.
func refuse(c net.Conn) {
	defer c.Close()
	var begin [512]byte
	if c.SetDeadline(time.Now().Add(refuseTimeout)) != nil {
		return
	}
	if _, err := c.Read(begin[:]); err != nil {
		return
	}
	if _, err := c.Write(refusal()); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, MaxBody) // until the caller hangs up, which ends with an error
	}
}

// refusal is the answer when all places are taken.
func refusal() []byte {
	f := overloaded()
	body, _ := json.Marshal(problemOf(f, "")) // strings and a number
	res := http.Response{
		StatusCode: Status(f.Kind), ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header:        http.Header{"Content-Type": {problemType}, "Retry-After": {retryAfter()}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	var b bytes.Buffer
	_ = res.Write(&b) // a buffer takes everything
	return b.Bytes()
}
