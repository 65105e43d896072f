package canary

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A release is how checkout behaves in it.
type release struct {
	ends     float64 // part of the orders that end, in time
	balanced float64 // part of the charged orders that are confirmed or refunded
}

const (
	ordersASecond = 100.0
	confirmed     = 0.8 // part of the orders that end; the others are cancelled, and a tenth of all refunded
	refunded      = 0.1
)

// A shop serves the metrics of all services while orders come in evenly, shared out by pods,
// as sidecars and Kafka share them out.
type shop struct {
	mu       sync.Mutex
	releases map[string]release // by image
	pods     map[pod]int
	counted  time.Time
	counts   map[string]float64 // by series
}

// A pod is ready, and of a release.
type pod struct{ hash, image string }

func newShop(releases map[string]release) *shop {
	return &shop{releases: releases, counted: time.Now(), counts: map[string]float64{`quadrille_inbox_parked_total{service="order"}`: 0}}
}

// serve says which pods take orders from now on.
func (s *shop) serve(pods map[pod]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count()
	s.pods = pods
}

func (s *shop) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count()
	series := make([]string, 0, len(s.counts))
	for name, value := range s.counts {
		series = append(series, fmt.Sprintf("%s %f\n", name, value))
	}
	slices.Sort(series)
	for _, line := range series {
		_, _ = w.Write([]byte(line)) // a scrape that went away comes again
	}
}

// count adds what happened since the last time.
func (s *shop) count() {
	now := time.Now()
	orders := ordersASecond * now.Sub(s.counted).Seconds()
	s.counted = now
	all := 0
	for _, n := range s.pods {
		all += n
	}
	for p, n := range s.pods {
		s.take(p, s.releases[p.image], orders*float64(n)/float64(all))
	}
}

// take counts orders that pods of a release took in.
func (s *shop) take(p pod, r release, orders float64) {
	request := fmt.Sprintf(`service="checkout",rollouts_pod_template_hash=%q`, p.hash)
	s.counts[`quadrille_http_request_seconds_count{`+request+`,status="2xx"}`] += orders
	for _, le := range []string{"0.05", "0.1", "0.5", "+Inf"} {
		s.counts[`quadrille_http_request_seconds_bucket{`+request+`,status="2xx",le="`+le+`"}`] += orders
	}
	s.counts[`quadrille_sagas_started_total{service="checkout"}`] += orders
	ended := orders * r.ends
	for outcome, part := range map[string]float64{"confirmed": confirmed * r.balanced, "cancelled": 1 - confirmed*r.balanced} {
		s.counts[`quadrille_saga_seconds_count{service="order",outcome="`+outcome+`"}`] += ended * part
		for _, le := range []string{"1", "5", "+Inf"} {
			s.counts[`quadrille_saga_seconds_bucket{service="order",outcome="`+outcome+`",le="`+le+`"}`] += ended * part
		}
	}
	const arrived = `quadrille_inbox_arrival_seconds_count{service="order",topic=`
	s.counts[arrived+`"payment.completed"}`] += ended * (confirmed + refunded)
	s.counts[arrived+`"payment.refunded"}`] += ended * refunded * r.balanced
}
