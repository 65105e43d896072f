package rest

import (
	"net"
	"net/netip"
	"sync"
)

// NetworkOf is what is limited as one address: of IPv6 the network, as a client has all
// addresses of it.
func NetworkOf(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		network, _ := a.Prefix(64) // every IPv6 address has one
		return network.String()
	}
	return a.String()
}

// Places counts what each key has under way, and gives it at most so many. It remembers no key
// that has nothing.
type Places struct {
	max  int
	mu   sync.Mutex
	open map[string]int
}

// NewPlaces returns n places for each key.
func NewPlaces(n int) *Places { return &Places{max: n, open: make(map[string]int)} }

// Take takes a place of a key, unless it has none left.
func (p *Places) Take(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[key] >= p.max {
		return false
	}
	p.open[key]++
	return true
}

// Free gives a place back that was taken.
func (p *Places) Free(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[key]--; p.open[key] == 0 {
		delete(p.open, key)
	}
}

// LimitEach returns a listener of whose connections one address, see NetworkOf, has at most n, so that a
// client which sends slowly takes no more places than these. A connection too many is closed.
// trusted addresses, those of load balancers, have as many as they like.
func LimitEach(ln net.Listener, n int, trusted func(netip.Addr) bool) net.Listener {
	return &eachLimit{Listener: ln, places: NewPlaces(n), trusted: trusted}
}

type eachLimit struct {
	net.Listener
	places  *Places // by network
	trusted func(netip.Addr) bool
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
		if network := NetworkOf(address); l.places.Take(network) {
			return &eachConn{TCPConn: tcp, free: sync.OnceFunc(func() { l.places.Free(network) })}, nil
		}
		_ = c.Close()
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
