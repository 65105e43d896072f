package telemetry

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// personal are attributes that instrumentation fills with what clients send: paths, in which they
// may have written an address of mail, and where they are. The route is in http.route.
var personal = []attribute.Key{
	"url.path", "url.query", "url.full", "http.target", "http.url",
	"client.address", "network.peer.address", "user_agent.original", "http.client_ip", "net.sock.peer.addr",
}

// redactingExporter exports spans without personal data.
type redactingExporter struct{ sdktrace.SpanExporter }

// ExportSpans implements sdktrace.SpanExporter.
func (e redactingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	redacted := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		redacted[i] = redactedSpan{s}
	}
	return e.SpanExporter.ExportSpans(ctx, redacted)
}

type redactedSpan struct{ sdktrace.ReadOnlySpan }

// Attributes are those that are not personal.
func (s redactedSpan) Attributes() []attribute.KeyValue {
	return slices.DeleteFunc(slices.Clone(s.ReadOnlySpan.Attributes()), func(a attribute.KeyValue) bool { return slices.Contains(personal, a.Key) })
}
