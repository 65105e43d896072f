package e2e

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"quadrille.internal/local/traces"
)

// collector receives spans over OTLP/HTTP, as any tracing system would.
type collector struct {
	url    string
	server *http.Server

	mu    sync.Mutex
	spans []span
}

// span is what the tests want to know of a span.
type span struct {
	service, name       string
	traceID, id, parent string
	order, consumer     string
	kind                tracev1.Span_SpanKind
}

func startCollector() (*collector, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{url: "http://" + listener.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.receive)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with stop
	return c, nil
}

func (c *collector) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	return c.server.Shutdown(ctx)
}

func (c *collector) receive(w http.ResponseWriter, r *http.Request) {
	data, err := traces.Read(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.add(data)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) add(data *tracev1.TracesData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range data.GetResourceSpans() {
		var service string
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service, s))
			}
		}
	}
}

func newSpan(service string, s *tracev1.Span) span {
	made := span{
		service: service, name: s.GetName(), kind: s.GetKind(), traceID: hex.EncodeToString(s.GetTraceId()),
		id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
	}
	for _, a := range s.GetAttributes() {
		switch a.GetKey() {
		case "quadrille.subject":
			made.order = a.GetValue().GetStringValue()
		case "messaging.consumer.group.name":
			made.consumer = a.GetValue().GetStringValue()
		}
	}
	return made
}

// where returns the spans received so far that match.
func (c *collector) where(match func(span) bool) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []span
	for _, s := range c.spans {
		if match(s) {
			found = append(found, s)
		}
	}
	return found
}
