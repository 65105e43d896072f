package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"quadrille.internal/services/customer/wire"
)

func TestErasuresAreReadToTheEnd(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("cursor"))
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusAccepted)
			json.NewEncoder(w).Encode(wire.Erasure{CustomerID: "c1", WaitsFor: []string{"order"}})
		case r.URL.Query().Get("cursor") == "":
			json.NewEncoder(w).Encode(wire.Erasures{Erasures: []wire.Erasure{{CustomerID: "c1"}}, Next: "ab"})
		default:
			json.NewEncoder(w).Encode(wire.Erasures{Erasures: []wire.Erasure{{CustomerID: "c2"}}})
		}
	}))
	admin := NewAdmin(Access{URL: server.URL})
	t.Cleanup(func() { admin.Close(); server.Close() })
	all, err := admin.Erasures(t.Context())
	if err != nil || len(all) != 2 || all[1].CustomerID != "c2" {
		t.Errorf("listed %+v, %v", all, err)
	}
	if e, err := admin.Erase(t.Context(), "c1"); err != nil || !slices.Equal(e.WaitsFor, []string{"order"}) {
		t.Errorf("asked: %+v, %v", e, err)
	}
	if want := []string{"GET /v1/erasures ", "GET /v1/erasures ab", "DELETE /v1/customers/c1 "}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
