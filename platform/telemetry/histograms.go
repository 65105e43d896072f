package telemetry

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Durations are histograms of how long something took, one for each value of a label, or
// one. A nil one observes nothing.
type Durations struct{ histograms }

// Sizes are histograms of how many something was of, likewise.
type Sizes struct{ histograms }

type histograms struct {
	vec *prometheus.HistogramVec
	// by has the histogram of each value: looking it up in vec takes longer than
	// observing does.
	by sync.Map
}

var (
	// Each bucket is about 1.4 times as wide as the one before: quantiles are that exact.
	durationBuckets = prometheus.ExponentialBucketsRange(0.000_25, 30, 35)
	sizeBuckets     = prometheus.ExponentialBuckets(1, 2, 10)
)

// Durations exposes histograms of seconds, from a quarter of a millisecond to half a
// minute. Where label is "" there is one, and its value "".
func (m *Metrics) Durations(name, label, help string) *Durations {
	return m.durations(name, label, help, durationBuckets)
}

func (m *Metrics) durations(name, label, help string, buckets []float64) *Durations {
	d := new(Durations)
	d.register(m, name, label, help, buckets)
	return d
}

// Sizes exposes histograms of numbers, from 1 to 512.
func (m *Metrics) Sizes(name, label, help string) *Sizes {
	s := new(Sizes)
	s.register(m, name, label, help, sizeBuckets)
	return s
}

func (h *histograms) register(m *Metrics, name, label, help string, buckets []float64) {
	h.vec = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: m.note(name, "histogram", label, help), Help: help, Buckets: buckets,
	}, labels(label))
	m.labelled.MustRegister(h.vec)
}

// Observe notes that something took so long. value comes from the program and never from
// a caller: each makes a histogram.
func (d *Durations) Observe(value string, took time.Duration) {
	if d != nil {
		d.of(value).Observe(took.Seconds())
	}
}

// ObserveIn is Observe in a W3C trace context. A trace that is sampled becomes the exemplar
// of its bucket, by which one goes from a histogram to an example.
func (d *Durations) ObserveIn(traceParent, value string, took time.Duration) {
	if d == nil {
		return
	}
	h := d.of(value)
	if !Sampled(traceParent) {
		h.Observe(took.Seconds())
		return
	}
	// Every histogram of client_golang takes exemplars.
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), //nolint:errcheck,forcetypeassert // see above
		prometheus.Labels{"trace_id": traceIDOf(traceParent)})
}

// Observe notes that something was of n.
func (s *Sizes) Observe(value string, n int) {
	if s != nil {
		s.of(value).Observe(float64(n))
	}
}

func (h *histograms) of(value string) prometheus.Observer {
	found, ok := h.by.Load(value)
	if !ok {
		found, _ = h.by.LoadOrStore(value, h.vec.WithLabelValues(labels(value)...))
	}
	return found.(prometheus.Observer) //nolint:errcheck,forcetypeassert // nothing else is in it
}

func labels(label string) []string {
	if label == "" {
		return nil
	}
	return []string{label}
}

// The parts of a W3C trace context: version, trace, span and flags.
const (
	traceParentLength = 55
	traceIDBegins     = 3
	traceIDEnds       = 35
)

// Sampled reports whether a W3C trace context says that its trace is recorded.
func Sampled(traceParent string) bool {
	return len(traceParent) == traceParentLength && strings.HasSuffix(traceParent, "-01")
}

func traceIDOf(traceParent string) string { return traceParent[traceIDBegins:traceIDEnds] }
