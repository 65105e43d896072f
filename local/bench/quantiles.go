package bench

import (
	"slices"
	"time"
)

// Quantiles of durations, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// quantiles are exact: a run keeps every single duration. It sorts what it is
// given; of nothing all are 0.
func quantiles(took []time.Duration) Quantiles {
	if len(took) == 0 {
		return Quantiles{}
	}
	slices.Sort(took)
	return Quantiles{P50: quantile(took, 0.50), P95: quantile(took, 0.95), P99: quantile(took, 0.99), Max: quantile(took, 1)}
}

// quantile is the smallest duration that a share q of all does not exceed
// (nearest rank), so that it is one that was really measured.
func quantile(sorted []time.Duration, q float64) float64 {
	rank := max(1, ceil(q*float64(len(sorted))))
	return milliseconds(sorted[rank-1])
}

// ceil forgives what the multiplication gets wrong: 0.99 of 100 are 99.
func ceil(x float64) int {
	const slack = 1e-9
	n := int(x)
	if x-float64(n) > slack {
		n++
	}
	return n
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
