package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

func testLimit(perSecond, burst, replicas int, s *shared) *limit {
	return newLimit("test", rate{perSecond, burst}, replicas, s)
}

func countAllowed(t *testing.T, l *limit, key string, n int) (allowed int) {
	t.Helper()
	for range n {
		if _, ok := l.allow(t.Context(), key); ok {
			allowed++
		}
	}
	return allowed
}

// since is how many seconds have begun.
func since(began time.Time) int { return int(time.Since(began).Seconds()) + 1 }

// Ten thousand addresses below the limit are all served, one above it is not, and memory
// stays bounded for however many more.
func TestManyAddresses(t *testing.T) {
	l := testLimit(1, 5, 1, nil)
	began := time.Now()
	for n := range 10_000 {
		key := rest.NetworkOf(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
		if got := countAllowed(t, l, key, 5); got != 5 {
			t.Fatalf("%s is allowed %d of 5", key, got)
		}
	}
	if got := countAllowed(t, l, "10.0.0.7", 5); got > since(began) {
		t.Errorf("an address at its limit is allowed %d more within %d s", got, since(began))
	}
	for n := range 4 * maxKeys {
		l.allow(t.Context(), fmt.Sprint("other-", n))
	}
	if l.keys.Len() != maxKeys {
		t.Errorf("%d keys are remembered, want %d", l.keys.Len(), maxKeys)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 64<<20 {
		t.Errorf("the heap has %d bytes", m.HeapAlloc)
	}
	runtime.KeepAlive(l)
}

// A client has all addresses of its IPv6 network, and is one.
func TestNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[2001:db8::1]:80": "2001:db8::/64", "[2001:db8::ffff:1]:80": "2001:db8::/64",
	} {
		if got := rest.NetworkOf(parseAddress(address)); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

// Only what our own proxies say of the address counts.
func TestTheAddressIsNotTheClientsToChoose(t *testing.T) {
	for _, c := range []struct{ peer, forwarded, want string }{
		{"203.0.113.9:1", "1.2.3.4", "203.0.113.9"},
		{"10.1.1.1:1", "1.2.3.4", "1.2.3.4"},
		{"10.1.1.1:1", "6.6.6.6, 1.2.3.4", "1.2.3.4"},
		{"10.1.1.1:1", "6.6.6.6, 1.2.3.4, 10.2.2.2", "1.2.3.4"},
		{"10.1.1.1:1", "rubbish", "10.1.1.1"},
		{"10.1.1.1:1", "6.6.6.6, rubbish, 10.2.2.2", "10.2.2.2"},
		{"10.1.1.1:1", "", "10.1.1.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{addressHeader: {c.forwarded}}}
		if got := (prefixes{netip.MustParsePrefix("10.0.0.0/8")}).of(r); got.String() != c.want {
			t.Errorf("from %s with %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// Where the limit is reached the answer says when to come again; before it is known who
// calls, and after.
func TestLimitsOfAddressAndCaller(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_ADDRESS_RATE": "1", "QUADRILLE_ADDRESS_BURST": "12", "QUADRILLE_CALLER_RATE": "1", "QUADRILLE_CALLER_BURST": "3"})
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(who string) (status int, answer string) {
		return s.get("/v1/orders", "Authorization: Bearer "+s.token(who))
	}
	began, allowed := time.Now(), 0
	servicetest.Await(t, "one is too many of carl", func() bool {
		status, answer := ask("carl")
		switch {
		case status == http.StatusOK:
			allowed++
		case status != http.StatusTooManyRequests || !strings.Contains(answer, "too_many_requests"):
			t.Errorf("carl is answered %d %s", status, answer)
		}
		return status != http.StatusOK
	})
	if allowed < 3 || allowed > 3+since(began) {
		t.Errorf("carl is allowed %d requests within %d s", allowed, since(began))
	}
	if status, _ := ask("dora"); status != http.StatusOK {
		t.Errorf("dora pays for carl: %d", status)
	}
	// Wrong tokens count, or they could be tried out. A caller who has asked for nothing is refused then.
	var callers int
	servicetest.Await(t, "the address is limited", func() bool {
		for range 20 {
			s.get("/v1/orders", "Authorization: Bearer forged")
		}
		callers++
		status, _ := ask(fmt.Sprint("caller-", callers))
		return status == http.StatusTooManyRequests
	})
}

// Gateways that share a count allow together what one may; while Redis is away each allows
// its part, neither nothing nor everything; and once it is back they share again.
func TestGatewaysShareACount(t *testing.T) {
	r := startRedis(t)
	set := settings{redis: r.addr}
	var limits []*limit
	for range 2 {
		s := newShared(set, slog.New(slog.DiscardHandler))
		t.Cleanup(func() { _ = s.client.Close() })
		limits = append(limits, testLimit(1, 100, 2, s))
	}
	checkShared(t, limits, "at first")
	r.stop()
	began := time.Now()
	if got := allowedTogether(t, limits, "away", 150); got < 100 || got > 100+2*since(began) {
		t.Errorf("two gateways without Redis allow %d of 300 within %d s, want 50 each", got, since(began))
	}
	r.start(t)
	checkShared(t, limits, "with Redis back")
}

// checkShared looks at what gateways allow while Redis answers each of their questions in time:
// on a machine that is busy it may not, and a gateway then rightly allows its part.
func checkShared(t *testing.T, limits []*limit, when string) {
	t.Helper()
	unanswered := func() (n int64) {
		for _, l := range limits {
			n += l.shared.failed.Load() + l.shared.awayUntil.Load()
		}
		return n
	}
	var round int
	servicetest.Await(t, when+" the gateways share a count", func() bool {
		round++
		before, began := unanswered(), time.Now()
		got := allowedTogether(t, limits, fmt.Sprint(when, round), 150)
		for _, l := range limits {
			if l.shared.awayUntil.Load() != 0 || unanswered() != before {
				return false
			}
		}
		if got < 100 || got > 100+since(began) {
			t.Errorf("%s two gateways allow %d of 300 within %d s, want 100", when, got, since(began))
		}
		return true
	})
}

func allowedTogether(t *testing.T, limits []*limit, key string, each int) (allowed int) {
	t.Helper()
	var all sync.WaitGroup
	counts := make([]int, len(limits))
	for i, l := range limits {
		all.Go(func() { counts[i] = countAllowed(t, l, key, each) })
	}
	all.Wait()
	for _, n := range counts {
		allowed += n
	}
	return allowed
}
