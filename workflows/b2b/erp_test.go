package b2b

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
)

// The ERP's part belongs to the trace that began with the order.
func TestERPCallCarriesTheTrace(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("traceparent")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":"erp_1"}`))
	}))
	defer server.Close()
	id := trace.TraceID{1, 2, 3}
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{4}}))
	if _, err := newERP(server.URL, "key").create(ctx, &Order{Row: aggregate.Row{ID: uuid.New()}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, id.String()) {
		t.Errorf("traceparent is %q", got)
	}
}

// A redirect is trouble at the ERP: the order and our key go nowhere else.
func TestRedirectsOfTheERPAreNotFollowed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/orders" {
			t.Errorf("followed to %s", r.URL.Path)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	if id, err := newERP(server.URL, "key").create(t.Context(), &Order{Row: aggregate.Row{ID: uuid.New()}}); err == nil || codeOf(err) != codeERPFailed {
		t.Errorf("created %q, %v, want %s", id, err, codeERPFailed)
	}
}

func TestShipmentsGroupAllocationsByWarehouse(t *testing.T) {
	o := &Order{Allocations: []events.Allocation{
		{SKU: "a", Warehouse: "york", Quantity: 1}, {SKU: "a", Warehouse: "leeds", Quantity: 2}, {SKU: "b", Warehouse: "york", Quantity: 3},
	}}
	list := shipments(o)
	if len(list) != 2 || list[0].Warehouse != "york" || len(list[0].Lines) != 2 || list[1].Warehouse != "leeds" || len(list[1].Lines) != 1 {
		t.Errorf("shipments are %+v", list)
	}
}
