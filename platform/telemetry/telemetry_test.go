package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"quadrille.internal/platform/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func startTracing(t *testing.T) {
	t.Helper()
	stop, err := telemetry.StartTracing(t.Context(), telemetry.TraceConfig{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func wellFormed(traceParent string) bool {
	parts := strings.Split(traceParent, "-")
	return len(parts) == 4 && len(parts[0]) == 2 && len(parts[1]) == 32 && len(parts[2]) == 16 && len(parts[3]) == 2 &&
		strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != ""
}

// Without an exporter nothing is recorded, but one trace id still follows an
// order through every service.
func TestSpansHandOnTheirTrace(t *testing.T) {
	startTracing(t)
	for _, c := range []struct {
		name, parent string
		inherits     bool
	}{
		{"below a parent", parent, true},
		{"below an unsampled parent", strings.TrimSuffix(parent, "1") + "0", true},
		{"without a parent", "", false},
		{"below rubbish", "00-rubbish", false},
		{"below zeros", "00-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			span, first := telemetry.StartSpan(t.Context(), c.parent, "first", trace.SpanKindConsumer)
			defer span.End()
			next, second := telemetry.StartSpan(t.Context(), first, "second", trace.SpanKindConsumer)
			defer next.End()
			if !wellFormed(first) || !wellFormed(second) || first == second || first == c.parent {
				t.Errorf("traces %q, then %q, then %q", c.parent, first, second)
			}
			if got := strings.Contains(first, traceID); got != c.inherits {
				t.Errorf("trace %q below %q", first, c.parent)
			}
			if second[:35] != first[:35] {
				t.Errorf("%q is not of the trace of %q", second, first)
			}
		})
	}
}

func TestTraceParent(t *testing.T) {
	if got := telemetry.TraceParent(context.Background()); got != "" {
		t.Errorf("TraceParent of no span = %q", got)
	}
	startTracing(t)
	ctx, span := otel.Tracer("test").Start(t.Context(), "request")
	defer span.End()
	got := telemetry.TraceParent(ctx)
	if !wellFormed(got) || !strings.Contains(got, span.SpanContext().TraceID().String()) {
		t.Errorf("TraceParent = %q", got)
	}
	sampled := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	})
	if got := telemetry.TraceParent(trace.ContextWithSpanContext(t.Context(), sampled)); !strings.HasSuffix(got, "-01") {
		t.Errorf("TraceParent = %q, want it to say that it is sampled", got)
	}
}

func TestLogNamesServiceAndTrace(t *testing.T) {
	startTracing(t)
	var out bytes.Buffer
	log := telemetry.NewLog(&out, slog.LevelInfo, "order")
	ctx, span := otel.Tracer("test").Start(t.Context(), "request")
	defer span.End()
	log.DebugContext(ctx, "not shown")
	log.With("a", 1).WithGroup("g").InfoContext(ctx, "shown", "b", 2)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	if line["service"] != "order" || !strings.Contains(out.String(), span.SpanContext().TraceID().String()) {
		t.Errorf("logged %s", out.Bytes())
	}
}

func TestMetricsAreReadAtTheScrape(t *testing.T) {
	m := telemetry.NewMetrics("order")
	n := int64(1)
	m.Counter("things_total", "Things.", func() int64 { return n })
	m.Gauge("level", "Level.", func() int64 { return -n })
	m.GaugeBy("by_topic", "topic", "Level.", func() map[string]int64 { return map[string]int64{"a.b": n} })
	n = 42
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`quadrille_things_total{service="order"} 42`, `quadrille_level{service="order"} -42`, `quadrille_by_topic{service="order",topic="a.b"} 42`, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q among the metrics", want)
		}
	}
}

// What is observed is told by name, service and label; without a label there is one
// histogram, and nil takes anything.
func TestDurations(t *testing.T) {
	m := telemetry.NewMetrics("order")
	by, one := m.Durations("step_seconds", "step", "Steps."), m.Durations("whole_seconds", "", "All of it.")
	by.Observe("first", 3*time.Millisecond)
	by.Observe("first", 2*time.Second)
	by.Observe("second", time.Millisecond)
	one.Observe("", 500*time.Millisecond)
	(*telemetry.Durations)(nil).Observe("first", time.Second)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{
		`quadrille_step_seconds_sum{service="order",step="first"} 2.003`, `quadrille_step_seconds_count{service="order",step="first"} 2`,
		`quadrille_step_seconds_count{service="order",step="second"} 1`, `quadrille_whole_seconds_sum{service="order"} 0.5`,
		`quadrille_step_seconds_bucket{service="order",step="first",le="30`,
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// A duration that was observed in a sampled trace is an example of its bucket, for who asks in
// the format that has them; in another trace it is not.
func TestExemplars(t *testing.T) {
	m := telemetry.NewMetrics("order")
	d := m.Durations("step_seconds", "step", "Steps.")
	d.ObserveIn(parent, "sampled", 3*time.Millisecond)
	d.ObserveIn(strings.TrimSuffix(parent, "1")+"0", "unsampled", 3*time.Millisecond)
	d.ObserveIn("", "none", 3*time.Millisecond)
	d.ObserveIn("rubbish-01", "rubbish", 3*time.Millisecond)
	(*telemetry.Durations)(nil).ObserveIn(parent, "sampled", time.Second)
	ask := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	ask.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, ask)
	examples := 0
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.Contains(line, " # {") {
			continue
		}
		examples++
		if !strings.Contains(line, `step="sampled"`) || !strings.Contains(line, `# {trace_id="`+traceID+`"} 0.003`) {
			t.Errorf("exemplar %s", line)
		}
	}
	if examples != 1 {
		t.Errorf("%d exemplars, want 1", examples)
	}
	for _, step := range []string{"sampled", "unsampled", "none", "rubbish"} {
		if !strings.Contains(answer.Body.String(), `quadrille_step_seconds_count{service="order",step="`+step+`"} 1`) {
			t.Errorf("the metrics lack step %s", step)
		}
	}
}

// Breakers of several parts of a service are one metric, read at the scrape.
func TestBreakers(t *testing.T) {
	m := telemetry.NewMetrics("order")
	state := telemetry.Closed
	m.Breakers(func() map[string]telemetry.Breaker { return map[string]telemetry.Breaker{"a": state} })
	m.Breakers(func() map[string]telemetry.Breaker {
		return map[string]telemetry.Breaker{"b": telemetry.HalfOpen, "c": telemetry.Closed}
	})
	state = telemetry.Open
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{`{breaker="a",service="order"} 2`, `{breaker="b",service="order"} 1`, `{breaker="c",service="order"} 0`} {
		if !strings.Contains(answer.Body.String(), "quadrille_breaker_state"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// The objective is about 5 s, so that must be the bound of a bucket.
func TestSagas(t *testing.T) {
	m := telemetry.NewMetrics("order")
	started, took := m.SagasStarted(), m.SagaSeconds("confirmed", "failed")
	started.Add(2)
	(*telemetry.Begun)(nil).Add(1)
	took.ObserveIn(parent, "confirmed", 4900*time.Millisecond)
	took.ObserveIn("", "cancelled", 5100*time.Millisecond)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{
		`quadrille_sagas_started_total{service="order"} 2`,
		`quadrille_saga_seconds_bucket{outcome="confirmed",service="order",le="5"} 1`,
		`quadrille_saga_seconds_bucket{outcome="cancelled",service="order",le="5"} 0`,
		`quadrille_saga_seconds_count{outcome="cancelled",service="order"} 1`,
		`quadrille_saga_seconds_count{outcome="failed",service="order"} 0`, // before the first
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
