package traces

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"quadrille.internal/quad/traces"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func id(n byte, size int) []byte { return append(make([]byte, size-1), n) }

func text(key, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}}}
}

// request has a span of trace 1, and one of trace 2 that links to it.
func request(t *testing.T) []byte {
	t.Helper()
	raw, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{text("service.name", "order")}},
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: []*tracev1.Span{
			{TraceId: id(1, 16), SpanId: id(3, 8), ParentSpanId: id(4, 8), Name: "process", Kind: tracev1.Span_SPAN_KIND_CONSUMER,
				StartTimeUnixNano: 1e9, EndTimeUnixNano: 2e9, Attributes: []*commonv1.KeyValue{text("quadrille.subject", "o1")},
				Status: &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR}},
			{TraceId: id(2, 16), SpanId: id(5, 8), Name: "batch", Links: []*tracev1.Span_Link{{TraceId: id(1, 16), SpanId: id(3, 8)}}},
			{TraceId: id(7, 16), SpanId: id(8, 8), Name: "another"},
		}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestCollector(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, t.TempDir()) }()
	base := "http://" + ln.Addr().String()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(request(t)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		body, encoding string
		status         int
	}{{zipped.String(), "gzip", http.StatusOK}, {"rubbish", "", http.StatusBadRequest}, {"rubbish", "gzip", http.StatusBadRequest}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/traces", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Encoding", c.encoding)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%.10q is answered %s, want %d", c.body, res.Status, c.status)
		}
	}
	trace := fmt.Sprintf("%032x", 1)
	spans, err := traces.Read(t.Context(), base, trace)
	if err != nil || len(spans) != 2 {
		t.Fatalf("%d spans, %v, want that of the trace and that which links to it", len(spans), err)
	}
	s := spans[0]
	if s.TraceID != trace || s.Service != "order" || s.Kind != "consumer" || !s.Failed || s.Attrs["quadrille.subject"] != "o1" ||
		s.Parent != fmt.Sprintf("%016x", 4) || s.End.Sub(s.Begin).Seconds() != 1 {
		t.Errorf("kept %+v", s)
	}
	if _, err := traces.Read(t.Context(), base, "nonsense"); err == nil {
		t.Error("a trace id of nonsense is taken")
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// What is kept is bounded, and the newest.
func TestWhatIsKeptIsBounded(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		if err := s.add([]traces.Span{{TraceID: fmt.Sprintf("%032x", n), Name: "step"}}); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	newest, _ := s.find(fmt.Sprintf("%032x", 99))
	oldest, _ := s.find(fmt.Sprintf("%032x", 0))
	if len(files) != 2 || size > 2000 || len(newest) != 1 || len(oldest) != 0 {
		t.Errorf("%d files of %d bytes, with %d of the newest and %d of the oldest", len(files), size, len(newest), len(oldest))
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A collector that is killed leaves half a line, and the next one goes on behind it.
func TestHalfALineHidesNoOtherSpan(t *testing.T) {
	dir, trace := t.TempDir(), fmt.Sprintf("%032x", 1)
	span := traces.Span{TraceID: trace, Name: "step"}
	for _, half := range []string{`{"trace_id":"` + trace + `","name":"st`, ""} {
		s, err := openStore(dir, maxFile)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.add([]traces.Span{span}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.file.WriteString(half); err != nil {
			t.Fatal(err)
		}
		if half == "" {
			if found, err := s.find(trace); err != nil || len(found) != 4 {
				t.Errorf("%d spans of the trace, %v; want all four", len(found), err)
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
