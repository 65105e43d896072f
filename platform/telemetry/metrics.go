package telemetry

import (
	"net/http"

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
}

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
		prometheus.CounterOpts{Name: "quadrille_" + name, Help: help},
		func() float64 { return float64(read()) }))
}

// Gauge exposes a level that read returns.
func (m *Metrics) Gauge(name, help string, read func() int64) {
	m.labelled.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "quadrille_" + name, Help: help},
		func() float64 { return float64(read()) }))
}

// GaugeBy exposes a level for each value of a label.
func (m *Metrics) GaugeBy(name, label, help string, read func() map[string]int64) {
	m.labelled.MustRegister(gaugeBy{prometheus.NewDesc("quadrille_"+name, help, []string{label}, nil), read})
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

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
