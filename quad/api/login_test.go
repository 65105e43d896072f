package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Who signs in calls admin ports by an access token, and signs in once while that is valid.
func TestSignedIn(t *testing.T) {
	var signedIn atomic.Int64
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_id") != "quad" || r.FormValue("client_secret") != "s3cret" {
			problem(http.StatusUnauthorized, "invalid_client", "")(w, r)
			return
		}
		signedIn.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a.b.c", "expires_in": 300})
	}))
	defer identity.Close()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer a.b.c" {
			problem(http.StatusUnauthorized, "token", "")(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(Order{ID: order})
	}))
	defer service.Close()
	login := NewLogin(Access{URL: identity.URL}, Credentials{ID: "quad", Secret: "s3cret"})
	defer login.Close()
	client := New(URLs{OrderAdmin: Access{URL: service.URL, Login: login}}, 0)
	defer client.Close()
	for want := int64(1); want <= 2; want++ {
		for range 2 {
			if _, err := client.Order(t.Context(), order); err != nil {
				t.Error(err)
			}
		}
		if n := signedIn.Load(); n != want {
			t.Errorf("signed in %d times, want %d", n, want)
		}
		login.expiry = time.Now() // once more after it has expired
	}
	wrong := NewLogin(Access{URL: identity.URL}, Credentials{ID: "quad", Secret: "wrong"})
	defer wrong.Close()
	if _, err := wrong.Token(t.Context()); !IsProblem(err, "invalid_client") {
		t.Errorf("with a wrong secret: %v", err)
	}
}
