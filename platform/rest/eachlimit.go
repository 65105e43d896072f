package rest

import (
	"net"
	"net/netip"
	"sync"
)

// LimitEach returns a listener of whose connections one address has at most n, so that a
// client which sends slowly takes no more places than these. A connection too many is closed.
// trusted addresses, those of load balancers, have as many as they like.
func LimitEach(ln net.Listener, n int, trusted func(netip.Addr) bool) net.Listener {
	return &eachLimit{Listener: ln, max: n, trusted: trusted, open: make(map[netip.Addr]int)}
}

type eachLimit struct {
	net.Listener
	max     int
	trusted func(netip.Addr) bool

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept returns the next connection of an address that may have one.
func (l *eachLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		address := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if l.trusted(address) {
			return c, nil
		}
		if l.take(address) {
			return &eachConn{TCPConn: tcp, free: sync.OnceFunc(func() { l.free(address) })}, nil
		}
		_ = c.Close()
	}
}

func (l *eachLimit) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a] >= l.max {
		return false
	}
	l.open[a]++
	return true
}

func (l *eachLimit) free(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a]--; l.open[a] == 0 {
		delete(l.open, a)
	}
}

type eachConn struct {
	*net.TCPConn
	free func()
}

// Close frees the place.
func (c *eachConn) Close() error {
	c.free()
	return c.TCPConn.Close()
}
