// Package telemetry sets up traces, metrics and logs of a process.
package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	scope = "quadrille.internal/platform"
	// maxLinks is more than a batch has events.
	maxLinks = 512
)

// TraceConfig of a process.
type TraceConfig struct {
	// Service names the process.
	Service string
	// Export sends spans to the OTLP endpoint of the standard environment
	// variables. Without it trace contexts are still made and handed on, so that
	// one trace id follows an order through every log and outbox.
	Export bool
	// Ratio of traces begun here that are sampled, within 0 and 1.
	Ratio float64
}

// StartTracing installs the process's tracer. The returned function sends what
// is left and ends it.
func StartTracing(ctx context.Context, c TraceConfig) (stop func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = maxLinks
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", c.Service))),
		sdktrace.WithSampler(sdktrace.NeverSample()),
	}
	if c.Export {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("start trace exporter: %w", err)
		}
		opts = append(opts, sdktrace.WithBatcher(redactingExporter{exporter}),
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Ratio))))
	}
	p := sdktrace.NewTracerProvider(opts...)
	otel.SetTracerProvider(p)
	return p.Shutdown, nil
}

// StartSpan starts a span below the W3C trace context traceParent, which may be
// empty, and returns it with its own trace context.
func StartSpan(ctx context.Context, traceParent, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (trace.Span, string) {
	ctx, span := otel.Tracer(scope).Start(Within(ctx, traceParent), name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	return span, TraceParent(ctx)
}

// Route names the span of an HTTP request after the route that it took.
func Route(r *http.Request, route string) {
	if span := trace.SpanFromContext(r.Context()); span.IsRecording() {
		span.SetName(r.Method + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
}

// Continue returns ctx within the trace of traceParent, or within a new one where
// that is empty or malformed.
func Continue(ctx context.Context, traceParent string) context.Context {
	ctx, span := otel.Tracer(scope).Start(Within(ctx, traceParent), "")
	span.End()
	return ctx
}

// TraceParent returns the W3C trace context of ctx, or "" where there is none.
func TraceParent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	tid, sid := sc.TraceID(), sc.SpanID()
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, tid[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, sid[:])
	if sc.IsSampled() {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}
