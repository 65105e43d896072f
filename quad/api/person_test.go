package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// The answer to a refresh may get lost without a sign. It is asked for again while identity still
// answers the same, and nobody has to sign in again.
func TestALostAnswerToARefresh(t *testing.T) {
	var asked atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("refresh_token") != "first" {
			problem(http.StatusBadRequest, "invalid_grant", "")(w, r)
			return
		}
		if asked.Add(1) == 1 {
			<-r.Context().Done() // no answer comes
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "expires_in": 300, "refresh_token": "second"})
	}))
	defer gateway.Close()
	p := NewPerson(gateway.URL)
	defer p.Close()
	if got, err := p.Refresh(t.Context(), "first"); err != nil || got.Refresh != "second" {
		t.Errorf("%+v, %v", got, err)
	}
	if grace := 10.0; (refreshRetry + refreshTimeout).Seconds() >= grace {
		t.Errorf("the last attempt may end %v after the first, and identity ends the session after %v s", refreshRetry+refreshTimeout, grace)
	}
}
