package telemetry

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is a service's Prometheus registry, with the Go and process metrics of the
// process that it runs in. Counters are read at the scrape, so that counting costs the
// hot path nothing but an atomic addition.
type Metrics struct {
	registry *prometheus.Registry
	labelled prometheus.Registerer

	mu       sync.Mutex
	breakers []func() map[string]Breaker
	about    []About
}

// About is what a metric says of itself.
type About struct {
	Name, Kind, Help string
	// Label is what there are several for, beside the service; or "".
	Label string
}

// About lists the service's own metrics, in the order in which they were made.
func (m *Metrics) About() []About { return m.about }

func (m *Metrics) note(name, kind, label, help string) string {
	full := "quadrille_" + name
	m.about = append(m.about, About{Name: full, Kind: kind, Label: label, Help: help})
	return full
}

// Breaker is how a circuit breaker stands.
type Breaker int64

// The states of a breaker.
const (
	Closed   Breaker = iota // all goes through
	HalfOpen                // a few, to see whether they do
	Open                    // nothing
)

// NewMetrics returns a registry whose own metrics have the label service: several
// services may share a process, and a scraper that joins them must tell them apart.
func NewMetrics(service string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{registry: r, labelled: prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, r)}
}

// Counter exposes a total that read returns.
func (m *Metrics) Counter(name, help string, read func() int64) {
	m.labelled.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: m.note(name, "counter", "", help), Help: help},
		func() float64 { return float64(read()) }))
}

// Gauge exposes a level that read returns.
func (m *Metrics) Gauge(name, help string, read func() int64) {
	m.labelled.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: m.note(name, "gauge", "", help), Help: help},
		func() float64 { return float64(read()) }))
}

// GaugeBy exposes a level for each value of a label.
func (m *Metrics) GaugeBy(name, label, help string, read func() map[string]int64) {
	m.labelled.MustRegister(gaugeBy{prometheus.NewDesc(m.note(name, "gauge", label, help), help, []string{label}, nil), read})
}

// Breakers exposes circuit breakers by name, those of several parts of a service in one metric.
func (m *Metrics) Breakers(read func() map[string]Breaker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.breakers = append(m.breakers, read)
	if len(m.breakers) == 1 {
		m.GaugeBy("breaker_state", "breaker", "0: calls go through, 1: a few to see whether they do, 2: none.", m.readBreakers)
	}
}

func (m *Metrics) readBreakers() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]int64)
	for _, read := range m.breakers {
		for name, state := range read() {
			all[name] = int64(state)
		}
	}
	return all
}

type gaugeBy struct {
	desc *prometheus.Desc
	read func() map[string]int64
}

// Describe implements prometheus.Collector.
func (g gaugeBy) Describe(to chan<- *prometheus.Desc) { to <- g.desc }

// Collect implements prometheus.Collector.
func (g gaugeBy) Collect(to chan<- prometheus.Metric) {
	for value, n := range g.read() {
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(n), value)
	}
}

// Handler serves the metrics, with exemplars to who asks for the OpenMetrics format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
