package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Durations are histograms of how long something took, one for each value of a label, or
// one. A nil one observes nothing.
type Durations struct {
	vec *prometheus.HistogramVec
	// by has the histogram of each value: looking it up in vec takes longer than
	// observing does.
	by sync.Map
}

// Each bucket is about 1.4 times as wide as the one before: quantiles are that exact.
var durationBuckets = prometheus.ExponentialBucketsRange(0.000_25, 30, 35)

// Durations exposes histograms of seconds, from a quarter of a millisecond to half a
// minute. Where label is "" there is one, and its value "".
func (m *Metrics) Durations(name, label, help string) *Durations {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "quadrille_" + name, Help: help, Buckets: durationBuckets,
	}, labels(label))
	m.labelled.MustRegister(vec)
	return &Durations{vec: vec}
}

// Observe notes that something took so long. value comes from the program and never from
// a caller: each makes a histogram.
func (d *Durations) Observe(value string, took time.Duration) {
	if d == nil {
		return
	}
	h, ok := d.by.Load(value)
	if !ok {
		h, _ = d.by.LoadOrStore(value, d.vec.WithLabelValues(labels(value)...))
	}
	h.(prometheus.Observer).Observe(took.Seconds()) //nolint:errcheck,forcetypeassert // nothing else is in it
}

func labels(label string) []string {
	if label == "" {
		return nil
	}
	return []string{label}
}
