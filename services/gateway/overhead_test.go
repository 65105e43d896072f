package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

var unlimited = map[string]string{
	"QUADRILLE_ADDRESS_RATE": "1000000", "QUADRILLE_ADDRESS_BURST": "1000000", "QUADRILLE_CALLER_RATE": "1000000", "QUADRILLE_CALLER_BURST": "1000000",
}

// Half of all requests take at most a millisecond longer through the gateway than straight
// to the service, which both answer in the same process.
func TestTheGatewayAddsAtMostAMillisecond(t *testing.T) {
	s := open(t, unlimited)
	direct, through := s.urls(t)
	var medians [2][]time.Duration
	// Other work on the machine comes and goes. A gateway that takes longer does so in every round.
	servicetest.Await(t, "the gateway adds at most a millisecond to the median", func() bool {
		for i, url := range []string{direct, through} {
			medians[i] = append(medians[i], s.median(t, url, 300))
		}
		a, b := slices.Min(medians[0]), slices.Min(medians[1])
		t.Logf("median: direct %v, through the gateway %v", a, b)
		return b-a <= time.Millisecond
	})
}

func BenchmarkRequest(b *testing.B) {
	s := open(b, unlimited)
	direct, through := s.urls(b)
	for name, url := range map[string]string{"direct": direct, "through the gateway": through} {
		b.Run(name, func(b *testing.B) {
			bearer := "Bearer " + s.token("carl")
			for b.Loop() {
				s.ask(b, url, bearer)
			}
		})
	}
}

// urls are the same answer on a port of the service's own, and through the gateway.
func (s *shop) urls(t testing.TB) (direct, through string) {
	t.Helper()
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"orders":[]}`) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, rest.NewConnLimit(ln, 100), answer)
	s.service("order", answer)
	return "http://" + ln.Addr().String() + "/v1/orders", "http://" + s.addr + "/v1/orders"
}

func (s *shop) median(t testing.TB, url string, n int) time.Duration {
	t.Helper()
	bearer := "Bearer " + s.token("carl")
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		s.ask(t, url, bearer)
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[n/2]
}

func (s *shop) ask(t testing.TB, url, bearer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", bearer)
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", url, res.StatusCode, err)
	}
}
