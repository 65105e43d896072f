package telemetry_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"quadrille.internal/platform/telemetry"
)

// record has the test's spans recorded, of traces that are sampled.
func record(t *testing.T) *tracetest.SpanRecorder {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	otel.SetTracerProvider(p)
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	return r
}

// sampled is the trace context of span n of trace n.
func sampled(n int) string { return fmt.Sprintf("00-%032x-%016x-01", n, n) }

var eventID = uuid.MustParse("019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a")

func TestSpansOfAnEvent(t *testing.T) {
	r := record(t)
	e := telemetry.Event{System: "dapr", Topic: "order.confirmed", ID: eventID, Subject: "o1"}
	created, bears := telemetry.CreateEvent(t.Context(), sampled(7), e)
	created.End()
	_, sent := telemetry.SendEvents(t.Context(), telemetry.Event{System: "dapr", Topic: e.Topic}, []string{bears, bears, sampled(8), sampled(9)})
	sent.End()
	e.Group = "checkout"
	processed, _ := telemetry.ProcessEvent(t.Context(), bears, e)
	processed.End()

	all := r.Ended()
	if len(all) != 3 {
		t.Fatalf("%d spans, want 3", len(all))
	}
	id := all[0].SpanContext().SpanID()
	for i, want := range []struct {
		name   string
		kind   trace.SpanKind
		parent trace.SpanID
		links  int
		attrs  map[string]string
	}{
		{"create order.confirmed", trace.SpanKindProducer, trace.SpanID{7: 7}, 0, map[string]string{"messaging.message.id": eventID.String(), "quadrille.subject": "o1"}},
		{"send order.confirmed", trace.SpanKindClient, id, 2, map[string]string{"messaging.batch.message_count": "4"}},
		{"process order.confirmed", trace.SpanKindConsumer, id, 0, map[string]string{
			"messaging.message.id": eventID.String(), "quadrille.subject": "o1", "messaging.consumer.group.name": "checkout",
		}},
	} {
		got := all[i]
		if got.Name() != want.name || got.SpanKind() != want.kind || got.Parent().SpanID() != want.parent || len(got.Links()) != want.links {
			t.Errorf("span %q of kind %s below %s with %d links, want %+v", got.Name(), got.SpanKind(), got.Parent().SpanID(), len(got.Links()), want)
		}
		operation, _, _ := strings.Cut(want.name, " ")
		want.attrs["messaging.system"], want.attrs["messaging.destination.name"] = "dapr", e.Topic
		want.attrs["messaging.operation.type"], want.attrs["messaging.operation.name"] = operation, operation
		if has := attributesOf(got); fmt.Sprint(has) != fmt.Sprint(want.attrs) {
			t.Errorf("%s has %v, want %v", want.name, has, want.attrs)
		}
	}
}

func attributesOf(s sdktrace.ReadOnlySpan) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes() {
		all[string(a.Key)] = attribute.Value.Emit(a.Value)
	}
	return all
}

// What a batch does is recorded if one of its traces is, and else nothing below it either.
func TestBatches(t *testing.T) {
	unsampled := "00-" + traceID + "-00f067aa0ba902b7-00"
	for _, c := range []struct {
		name   string
		traces []string
		parent trace.SpanID
		links  int
		spans  int
	}{
		{"none", nil, trace.SpanID{}, 0, 0},
		{"none that is recorded", []string{"", unsampled, "rubbish"}, trace.SpanID{}, 0, 0},
		{"one", []string{unsampled, sampled(3), unsampled}, trace.SpanID{7: 3}, 0, 2},
		{"one of them often", []string{sampled(3), sampled(3)}, trace.SpanID{7: 3}, 0, 2},
		{"several", []string{unsampled, sampled(3), sampled(4), sampled(5)}, trace.SpanID{7: 3}, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record(t)
			ctx, span := telemetry.StartBatch(context.Background(), "batch", c.traces)
			_, statement := otel.Tracer("database").Start(ctx, "statement", trace.WithSpanKind(trace.SpanKindClient))
			if c.spans == 0 && trace.SpanFromContext(ctx).IsRecording() {
				t.Error("what is below it is recorded")
			}
			if c.spans > 0 {
				statement.End()
			}
			span.End()
			all := r.Ended()
			if len(all) != c.spans {
				t.Fatalf("%d spans, want %d", len(all), c.spans)
			}
			if c.spans > 0 && (all[1].Parent().SpanID() != c.parent || len(all[1].Links()) != c.links) {
				t.Errorf("below %s with %d links, want %s and %d", all[1].Parent().SpanID(), len(all[1].Links()), c.parent, c.links)
			}
		})
	}
}

// An event of a trace that is not recorded bears its cause's context, and costs no span.
func TestEventsThatAreNotRecorded(t *testing.T) {
	r := record(t)
	cause := "00-" + traceID + "-00f067aa0ba902b7-00"
	if span, bears := telemetry.CreateEvent(t.Context(), cause, telemetry.Event{}); span != nil || bears != cause {
		t.Errorf("it bears %q and has span %v", bears, span)
	}
	span, causes := telemetry.ProcessEvent(t.Context(), cause, telemetry.Event{})
	if span.IsRecording() || causes != cause {
		t.Errorf("what it causes bears %q", causes)
	}
	if len(r.Started()) != 0 {
		t.Errorf("%d spans were started", len(r.Started()))
	}
}

// BenchmarkEventsUnrecorded is what an event and its batches cost where its trace is not recorded.
func BenchmarkEventsUnrecorded(b *testing.B) {
	cause := "00-" + traceID + "-00f067aa0ba902b7-00"
	traces := []string{cause, cause, cause, cause}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, bears := telemetry.CreateEvent(ctx, cause, telemetry.Event{Topic: "order.confirmed"})
		_, sent := telemetry.SendEvents(ctx, telemetry.Event{Topic: "order.confirmed"}, traces)
		sent.End()
		processed, _ := telemetry.ProcessEvent(ctx, bears, telemetry.Event{Topic: "order.confirmed"})
		processed.End()
	}
}
