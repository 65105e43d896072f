package rest

import (
	"net/netip"
	"testing"
)

// A client has all addresses of its IPv6 network: it is one, whichever of them it takes.
func TestConnectionsOfAnIPv6NetworkAreCountedTogether(t *testing.T) {
	places := NewPlaces(1)
	for _, c := range []struct {
		address string
		want    bool
	}{
		{"2001:db8:1:2::1", true}, {"2001:db8:1:2:ffff::9", false}, {"2001:db8:1:3::1", true}, {"192.0.2.1", true}, {"::ffff:192.0.2.1", false}, {"192.0.2.2", true},
	} {
		if got := places.Take(NetworkOf(netip.MustParseAddr(c.address))); got != c.want {
			t.Errorf("a connection of %s is taken: %v, want %v", c.address, got, c.want)
		}
	}
}
