// Package httpcall carries HTTP requests from one service to another, by the callee's name.
//
// What travels are connections, and net/http is at both ends: time-outs, limits, streamed
// answers and the end of a request are those of HTTP. In a process a connection is memory;
// between processes it is a gRPC stream through the sidecars, which know both sides by
// their certificates and check that the caller declares Method. So the callee needs no
// port that others reach.
package httpcall

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	serviceName = "quadrille.http.v1.Connections"
	methodName  = "Connect"
	// Method is what a service has among its Calls that makes HTTP requests to others. All
	// with public routes serve it.
	Method = "/" + serviceName + "/" + methodName
)

// RemoteAddr is the http.Request.RemoteAddr of what came by this package.
const RemoteAddr = "service"

type addr struct{}

func (addr) Network() string { return "quadrille" }
func (addr) String() string  { return RemoteAddr }

// conn is an end of a connection in memory.
type conn struct{ net.Conn }

func (conn) LocalAddr() net.Addr  { return addr{} }
func (conn) RemoteAddr() net.Addr { return addr{} }

// Listener takes the connections of other services, for an http.Server.
type Listener struct {
	dialled chan net.Conn
	closed  chan struct{}
	close   func()
}

// NewListener returns a Listener.
func NewListener() *Listener {
	l := &Listener{dialled: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// Dial returns a connection to what accepts from l, and waits for it to do so.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.dialled <- conn{theirs}:
		return conn{ours}, nil
	case <-l.closed:
		return nil, fmt.Errorf("the service takes no more requests: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("the service takes no requests yet: %w", ctx.Err())
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialled:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error { l.close(); return nil }

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return addr{} }

const (
	// connectTimeout is how long a callee may take to accept a connection.
	connectTimeout = 2 * time.Second
	// idleTimeout is shorter than that of rest.NewServer, so that the callee does not close
	// a connection on which a request is just being sent.
	idleTimeout    = time.Minute
	idleConns      = 128
	maxHeaderBytes = 64 << 10
)

// A DialError says that the callee was not reached, and has seen nothing of the request.
type DialError struct {
	Service string
	Cause   error
}

func (e *DialError) Error() string { return fmt.Sprintf("call %s: %v", e.Service, e.Cause) }

func (e *DialError) Unwrap() error { return e.Cause }

// NewTransport returns a transport for requests to http://<service>/<path>, which keeps
// connections open. It follows no redirects, and adds no Accept-Encoding. How much is under
// way at a service is the caller's to bound: event streams must not keep requests waiting here.
func NewTransport(dial func(ctx context.Context, service string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			service, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			c, err := dial(ctx, service)
			if err != nil {
				return nil, &DialError{service, err}
			}
			return c, nil
		},
		DisableCompression:  true,
		MaxIdleConns:        0, // MaxIdleConnsPerHost bounds them
		MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}
