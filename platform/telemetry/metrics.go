package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is a process's Prometheus registry with the Go and process metrics.
// Counters are read at the scrape, so that counting costs the hot path nothing
// but an atomic addition.
type Metrics struct{ registry *prometheus.Registry }

// NewMetrics returns a registry.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{registry: r}
}

// Counter exposes a total that read returns.
func (m *Metrics) Counter(name, help string, read func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "quadrille_" + name, Help: help},
		func() float64 { return float64(read()) }))
}

// Gauge exposes a level that read returns.
func (m *Metrics) Gauge(name, help string, read func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "quadrille_" + name, Help: help},
		func() float64 { return float64(read()) }))
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
