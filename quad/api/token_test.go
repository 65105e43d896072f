package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"quadrille.internal/platform/caller"
)

// Each caller's token is asked for once, by what it may do, and is sent as bearer in place
// of the edge's header.
func TestCallersHaveAccessTokens(t *testing.T) {
	var asked []string
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Subject string
			Scopes  []string
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.Header.Get("Authorization") != "Bearer operator" {
			t.Errorf("%s %v, %v", r.Method, r.Header, err)
		}
		asked = append(asked, fmt.Sprint(req.Subject, req.Scopes))
		fmt.Fprintf(w, `{"access_token":"of %s %d","expires_in":300}`, req.Subject, len(asked))
	}))
	defer identity.Close()
	var sent []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Header.Get("Authorization")+r.Header.Get(caller.Header))
		fmt.Fprint(w, `{}`)
	}))
	defer service.Close()
	at := Access{URL: service.URL}
	c := New(URLs{Checkout: at, Order: at, IdentityAdmin: Access{URL: identity.URL, Token: "operator"}}, 0)
	defer c.Close()

	for range 2 {
		if _, err := c.Place(t.Context(), "k", NewOrder{CustomerID: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Orders(t.Context(), "ann", 1); err != nil {
		t.Fatal(err)
	}
	want := `["Bearer of ann 1" "Bearer of ann 1" "Bearer of ann 2"] ["ann[checkout:prices]" "ann[]"]`
	if got := fmt.Sprintf("%q %q", sent, asked); got != want {
		t.Errorf("sent and asked %s, want %s", got, want)
	}

	edge := New(URLs{Checkout: at}, 0)
	defer edge.Close()
	if _, err := edge.Place(t.Context(), "k", NewOrder{CustomerID: "ann"}); err != nil || sent[3] != "ann" {
		t.Errorf("behind an edge %q was sent, %v, want its header", sent[3], err)
	}
	nowhere := New(URLs{Checkout: at, IdentityAdmin: Access{URL: "http://127.0.0.1:1", Token: "operator"}}, 0)
	defer nowhere.Close()
	if _, err := nowhere.Place(t.Context(), "k", NewOrder{CustomerID: "ann"}); err == nil || len(sent) != 4 {
		t.Error("an order went out without its token")
	}
}
