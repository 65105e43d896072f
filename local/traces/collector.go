package traces

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"quadrille.internal/quad/traces"
)

const (
	maxRequest  = 32 << 20
	readTimeout = 10 * time.Second
	stopTimeout = 5 * time.Second
)

// Serve keeps what is sent to ln below dir, until ctx ends.
func Serve(ctx context.Context, ln net.Listener, dir string) error {
	s, err := openStore(dir, maxFile)
	if err != nil {
		return errors.Join(fmt.Errorf("keep traces in %s: %w", dir, err), ln.Close())
	}
	server := &http.Server{Handler: handler(s), ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err = server.Serve(ln)
	if !stop() {
		err = <-stopped
	}
	return errors.Join(err, s.close())
}

func handler(s *store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		data, err := Read(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := s.add(spansOf(data)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	mux.HandleFunc("GET /traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if !traceID.MatchString(id) {
			http.Error(w, "a trace id is 32 hexadecimal digits", http.StatusBadRequest)
			return
		}
		found, err := s.find(id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(found) // the caller went away
	})
	return mux
}

var traceID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Read reads an export request of OTLP/HTTP, which on the wire has the form of TracesData.
func Read(w http.ResponseWriter, r *http.Request) (*tracev1.TracesData, error) {
	body := io.Reader(http.MaxBytesReader(w, r.Body, maxRequest))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = io.LimitReader(unzipped, maxRequest)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	data := new(tracev1.TracesData)
	return data, proto.Unmarshal(raw, data)
}

func spansOf(data *tracev1.TracesData) []traces.Span {
	var all []traces.Span
	for _, resource := range data.GetResourceSpans() {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				all = append(all, spanOf(service, s))
			}
		}
	}
	return all
}

func spanOf(service string, s *tracev1.Span) traces.Span {
	made := traces.Span{
		TraceID: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Service: service, Name: s.GetName(), Kind: strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Begin: time.Unix(0, int64(s.GetStartTimeUnixNano())).UTC(), End: time.Unix(0, int64(s.GetEndTimeUnixNano())).UTC(), //nolint:gosec // until 2262
		Failed: s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR, Attrs: attributes(s.GetAttributes()),
	}
	for _, l := range s.GetLinks() {
		made.Links = append(made.Links, traces.Link{TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId())})
	}
	return made
}

// attributes are those that are texts, numbers or truth values.
func attributes(list []*commonv1.KeyValue) map[string]string {
	all := make(map[string]string, len(list))
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *commonv1.AnyValue_IntValue:
			all[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonv1.AnyValue_DoubleValue:
			all[a.GetKey()] = fmt.Sprint(v.DoubleValue)
		case *commonv1.AnyValue_BoolValue:
			all[a.GetKey()] = fmt.Sprint(v.BoolValue)
		}
	}
	return all
}
