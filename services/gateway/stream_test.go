package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"quadrille.internal/platform/servicetest"
)

// watch asks for an event stream, by way of a load balancer that says whose address it is.
func (s *shop) watch(address, authorization string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+"/v1/carts/stock", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set(addressHeader, address)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// wantRefused asks that a stream is refused as one too many, and says when to come again.
func wantRefused(t *testing.T, what string, res *http.Response) {
	t.Helper()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
	if after, _ := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != http.StatusTooManyRequests || after < 1 ||
		res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(body), `"code":"too_many_streams"`) {
		t.Errorf("%s: %d %v %s", what, res.StatusCode, res.Header, body)
	}
}

// A client that opens one event stream after another gets so many and no more: of an address,
// of an IPv6 network, and of a caller whatever his addresses. Others get theirs, and one that
// ends makes room.
func TestNobodyHasAllEventStreams(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_TRUSTED_PROXIES": "127.0.0.0/8", "QUADRILLE_STREAMS": "12",
		"QUADRILLE_STREAMS_OF_ADDRESS": "3", "QUADRILLE_STREAMS_OF_CALLER": "2"})
	gone := make(chan struct{}, 16)
	s.service("cart", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	var first *http.Response
	for address, n := range map[string]int{"203.0.113.1": 1, "2001:db8:0:1::%x": 1, "2001:db8:0:2::%x": 1} {
		for i := range 3 {
			res := s.watch(of(address, i+n), "")
			if first = res; res.StatusCode != http.StatusOK {
				t.Fatalf("stream %d of %s: %d", i, address, res.StatusCode)
			}
		}
		wantRefused(t, "a fourth of "+address, s.watch(of(address, 99), "")) //nolint:bodyclose // watch closes it
		// what it would have watched is watched no more
		<-gone
	}
	if got := s.gateway.counts.streams.Load(); got != 9 {
		t.Errorf("%d streams are counted, want 9", got)
	}
	if got := s.gateway.counts.streamsRefused.Load(); got != 3 {
		t.Errorf("%d streams are counted as refused, want 3", got)
	}
	_ = first.Body.Close()
	<-gone
	servicetest.Await(t, "the place of the stream is free", func() bool { return s.gateway.counts.streams.Load() == 8 })

	carl := "Bearer " + s.token("carl")
	for n := range 2 {
		if res := s.watch(fmt.Sprintf("198.51.100.%d", n), carl); res.StatusCode != http.StatusOK { //nolint:bodyclose // watch closes it
			t.Errorf("stream %d of carl: %d", n, res.StatusCode)
		}
	}
	wantRefused(t, "a third of carl", s.watch("198.51.100.9", carl)) //nolint:bodyclose // watch closes it
	<-gone
	for n := range 2 { // a stream that his own limit refused took no place of the address
		if res := s.watch("198.51.100.9", ""); res.StatusCode != http.StatusOK { //nolint:bodyclose // watch closes it
			t.Errorf("stream %d beside carl: %d", n, res.StatusCode)
		}
	}
	if res := s.watch("198.51.100.77", ""); res.StatusCode != http.StatusServiceUnavailable { //nolint:bodyclose // watch closes it
		t.Errorf("one more than all that may be: %d", res.StatusCode)
	}
}

// However many event streams of a service are open, its other requests are answered.
func TestEventStreamsKeepNoRequestWaiting(t *testing.T) {
	const streams = 1_200
	s := open(t, map[string]string{"QUADRILLE_TRUSTED_PROXIES": "127.0.0.0/8"})
	s.service("cart", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/carts/stock" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	for n := range streams {
		if res := s.watch(fmt.Sprintf("198.51.%d.1", n/10), ""); res.StatusCode != http.StatusOK { //nolint:bodyclose // watch closes it
			t.Fatalf("stream %d: %d", n, res.StatusCode)
		}
	}
	if status, answer := s.get("/v1/carts/mine", addressHeader+": 203.0.113.1"); status != http.StatusOK {
		t.Errorf("a request beside %d streams: %d %s", streams, status, answer)
	}
}

// of is an address of a network.
func of(address string, n int) string {
	if strings.Contains(address, "%") {
		return fmt.Sprintf(address, n)
	}
	return address
}
