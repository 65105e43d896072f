package telemetry

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Event is what a span says of an event that is sent or processed, by OpenTelemetry's
// semantic conventions for messaging.
type Event struct {
	// System carries it: dapr, or quadrille within a process.
	System string
	Topic  string
	// ID is the event's, and the nil UUID where there are several.
	ID uuid.UUID
	// Subject is what it is about: an order's id, for one.
	Subject string
	// Group is the consumer, and empty at the producer.
	Group string
}

// The operations, as the conventions call them.
const (
	create  = "create"
	send    = "send"
	process = "process"
)

func (e Event) attributes(operation string, more ...attribute.KeyValue) []attribute.KeyValue {
	attrs := append([]attribute.KeyValue{
		attribute.String("messaging.system", e.System),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", operation),
		attribute.String("messaging.destination.name", e.Topic),
	}, more...)
	if e.ID != uuid.Nil {
		attrs = append(attrs, attribute.String("messaging.message.id", e.ID.String()))
	}
	for _, optional := range []struct{ name, value string }{
		{"messaging.consumer.group.name", e.Group}, {"quadrille.subject", e.Subject},
	} {
		if optional.value != "" {
			attrs = append(attrs, attribute.String(optional.name, optional.value))
		}
	}
	return attrs
}

// CreateEvent starts the span of an event's creation below its cause, and returns the trace
// context that the event bears. In a trace that is not recorded there is no span, and the
// event bears its cause's context.
func CreateEvent(ctx context.Context, cause string, e Event) (trace.Span, string) {
	if unsampled(cause) {
		return nil, cause
	}
	span, traceParent := StartSpan(ctx, cause, create+" "+e.Topic, trace.SpanKindProducer)
	if span.IsRecording() {
		span.SetAttributes(e.attributes(create)...)
	}
	return span, traceParent
}

// ProcessEvent starts the span of what a consumer does with an event, below its creation, and
// returns the trace context of what it causes. In a trace that is not recorded that is the
// event's, and the span is none.
func ProcessEvent(ctx context.Context, traceParent string, e Event) (trace.Span, string) {
	if unsampled(traceParent) {
		return noSpan, traceParent
	}
	span, own := StartSpan(ctx, traceParent, process+" "+e.Topic, trace.SpanKindConsumer)
	if span.IsRecording() {
		span.SetAttributes(e.attributes(process)...)
	}
	return span, own
}

var noSpan = trace.SpanFromContext(context.Background())

// unsampled reports whether a W3C trace context says that its trace is not recorded.
func unsampled(traceParent string) bool {
	return len(traceParent) == traceParentLength && strings.HasSuffix(traceParent, "-00")
}

// SendEvents starts the span of a publish call, which carries events of so many traces.
func SendEvents(ctx context.Context, e Event, traceParents []string) (context.Context, trace.Span) {
	return startBatch(ctx, send+" "+e.Topic, trace.SpanKindClient, traceParents, func() []attribute.KeyValue {
		return e.attributes(send, attribute.Int("messaging.batch.message_count", len(traceParents)))
	})
}

// StartBatch starts the span of work that is done at once for several traces: below the first
// that is recorded, with links to the others. Where none is recorded, neither is it, nor
// anything below it.
func StartBatch(ctx context.Context, name string, traceParents []string) (context.Context, trace.Span) {
	return startBatch(ctx, name, trace.SpanKindInternal, traceParents, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.Int("quadrille.batch.size", len(traceParents))}
	})
}

func startBatch(ctx context.Context, name string, kind trace.SpanKind, traceParents []string, attrs func() []attribute.KeyValue) (context.Context, trace.Span) {
	first := ""
	var links []trace.Link
	for _, of := range traceParents {
		switch {
		case !Sampled(of) || of == first:
		case first == "":
			first = of
		default:
			links = append(links, trace.Link{SpanContext: trace.SpanContextFromContext(Within(context.Background(), of))})
		}
	}
	if first == "" {
		return trace.ContextWithSpan(ctx, noSpan), noSpan
	}
	ctx, span := otel.Tracer(scope).Start(Within(ctx, first), name, trace.WithSpanKind(kind), trace.WithLinks(links...))
	if span.IsRecording() {
		span.SetAttributes(attrs()...)
	}
	return ctx, span
}

// Within returns ctx in the trace of traceParent, if that is one, so that what is logged bears
// its id.
func Within(ctx context.Context, traceParent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceParent})
}
