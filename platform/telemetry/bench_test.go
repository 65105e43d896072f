package telemetry_test

import (
	"testing"
	"time"

	"quadrille.internal/platform/telemetry"
)

func BenchmarkObserve(b *testing.B) {
	d := telemetry.NewMetrics("order").Durations("step_seconds", "step", "Steps.")
	for b.Loop() {
		d.Observe("first", 3*time.Millisecond)
	}
}
