package bench

import (
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// told is a service's answer at /metrics.
func told(t *testing.T, text string) metrics {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
	defer s.Close()
	m, err := scrape(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestScrape(t *testing.T) {
	m := told(t, `# TYPE go_goroutines gauge
go_goroutines 9
# TYPE quadrille_outbox_published_total counter
quadrille_outbox_published_total{service="order"} 5
# TYPE quadrille_outbox_refused gauge
quadrille_outbox_refused{service="order",topic="a"} 1
quadrille_outbox_refused{service="order",topic="b"} 2
# TYPE quadrille_outbox_queue_seconds histogram
quadrille_outbox_queue_seconds_bucket{service="order",topic="a",le="0.1"} 50
quadrille_outbox_queue_seconds_bucket{service="order",topic="a",le="0.2"} 100
quadrille_outbox_queue_seconds_bucket{service="order",topic="a",le="+Inf"} 101
quadrille_outbox_queue_seconds_sum{service="order",topic="a"} 15.15
quadrille_outbox_queue_seconds_count{service="order",topic="a"} 101
`)
	if c := m.counters; len(c) != 2 || c["outbox_published_total"] != 5 || c["outbox_refused"] != 3 {
		t.Errorf("counters %v", c)
	}
	h := m.timings[timing{"outbox_queue_seconds", "a"}]
	for q, want := range map[float64]float64{0.25: 50.5, 0.5: 101, 0.75: 151.5, 1: 200} {
		if got := h.quantile(q); math.Abs(got-want) > 0.01 {
			t.Errorf("quantile %v is %v ms, want %v", q, got, want)
		}
	}
	if h.mean() != 150 || (histogram{}).quantile(0.5) != 0 || (histogram{}).mean() != 0 {
		t.Errorf("mean %v ms, want 150; of nothing %v, %v, want 0", h.mean(), (histogram{}).quantile(0.5), (histogram{}).mean())
	}
}

// What each part takes is known here, beside what was observed before the run. The parts
// then come in the order of the way, and add up.
func TestWhereAddsUp(t *testing.T) {
	hist := func(n, ms float64) histogram {
		return histogram{count: uint64(n), sum: n * ms / 1000, bounds: []float64{math.Inf(1)}, within: []uint64{uint64(n)}}
	}
	earlier := func(h histogram) histogram { return hist(7, 1000*h.sum) }
	began := time.Now()
	after, before := sight{at: began.Add(2 * time.Second), metrics: map[string]metrics{}}, sight{at: began, metrics: map[string]metrics{}}
	set := func(service, metric, label string, ms float64) {
		for _, s := range []sight{after, before} {
			if s.metrics[service].timings == nil {
				s.metrics[service] = metrics{timings: timings{}}
			}
		}
		h, key := hist(100, ms), timing{metric, label}
		old := earlier(h)
		before.metrics[service].timings[key] = old
		after.metrics[service].timings[key] = histogram{
			count: h.count + old.count, sum: h.sum + old.sum, bounds: h.bounds, within: []uint64{h.count + old.count},
		}
	}
	set("checkout", "placing_wait_seconds", "", 2)
	for _, h := range checkouts.way {
		set(h.from, "outbox_commit_seconds", h.topic, 3)
		set(h.from, "outbox_queue_seconds", h.topic, 1)
		set(h.from, "outbox_publish_seconds", h.topic, 4)
		set(h.from, "outbox_call_seconds", h.topic, 4)
		for i, to := range h.to {
			set(to, "inbox_arrival_seconds", h.topic, 10) // 6 behind the queue
			set(to, "inbox_wait_seconds", h.topic, 5)
			set(to, "inbox_transaction_seconds", h.topic, 7+float64(i)) // the last is the slowest
		}
	}
	for _, step := range []string{"slot", "provider", "outcome"} {
		set("payment", "payment_step_seconds", step, 20)
	}
	// 11 ms to the answer, of which 2 and 3 are not HTTP's.
	tr := &trial{scenario: Scenario{trade: &checkouts}}
	w := tr.where(before, after, []course{
		{intended: time.Second, answered: time.Second + 11*time.Millisecond, settled: time.Second + 136*time.Millisecond},
	})
	var names []string
	means := map[string]float64{}
	for _, p := range w.Parts {
		names = append(names, p.Name)
		means[p.Name] = math.Round(p.Mean*1000) / 1000
	}
	for name, want := range map[string]float64{
		"HTTP": 6, "checkout: wait": 2, "checkout: transaction": 3, "checkout.order.created: queue": 1,
		"checkout.order.created: publish call": 4, "checkout.order.created: to inventory": 2, "inventory: wait": 5,
		"payment: provider": 20, "inventory: transaction": 8,
	} {
		if means[name] != want {
			t.Errorf("%s takes %v ms, want %v", name, means[name], want)
		}
	}
	// 6 HTTP, 2 wait, four hops of 10 and 5, 60 at the provider, 8 for the last transaction.
	if want := 136.0; math.Abs(w.Sum-want) > 1e-6 || math.Abs(w.Whole-want) > 1e-6 {
		t.Errorf("the parts add up to %v ms of %v, want %v", w.Sum, w.Whole, want)
	}
	if last := len(names) - 1; names[last] != "inventory: transaction" || !slices.Contains(names, "order.confirmed: to inventory") {
		t.Errorf("the way ends with %v, want the slower of those that hear of the end", names[last-3:])
	}
	// 100 events in 100 calls of 4 ms, in 2 s.
	if p := w.Parts[4]; p.Name != "checkout.order.created: publish call" || p.Events != 1 || math.Abs(p.UnderWay-0.2) > 1e-9 {
		t.Errorf("%+v, want one event a call, and 0.2 under way", p)
	}
	if text := w.String(); !strings.Contains(text, "measured from outside") || strings.Count(text, "\n") != len(names)+3 {
		t.Errorf("it is shown as\n%s", text)
	}
}
