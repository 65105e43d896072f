package telemetry

import "sync/atomic"

// sagaBuckets reach to the longest that an order may wait for people. 5 s is among them,
// since the objective is about it.
var sagaBuckets = []float64{
	0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 30, 60, 300, 900, 1800, 3600, 86_400, 604_800,
}

// Begun counts sagas that began. A nil one counts nothing.
type Begun struct{ n atomic.Int64 }

// Add counts n more, after their commit.
func (b *Begun) Add(n int) {
	if b != nil {
		b.n.Add(int64(n))
	}
}

// SagasStarted exposes the sagas that this service begins, an order each. Whichever service
// ends them has their SagaSeconds: the difference of both counts is the orders under way.
func (m *Metrics) SagasStarted() *Begun {
	b := new(Begun)
	m.Counter("sagas_started_total", "Orders taken in.", b.n.Load)
	return b
}

// SagaSeconds exposes how long orders took from their beginning to their end, by outcome. Those
// that are named are told from the start, so that the first order of each is a step up and not a
// beginning, which Prometheus would not count.
func (m *Metrics) SagaSeconds(outcomes ...string) *Durations {
	d := m.durations("saga_seconds", "outcome", "From an order's beginning to its end, by how it ended.", sagaBuckets)
	for _, outcome := range outcomes {
		d.of(outcome)
	}
	return d
}
