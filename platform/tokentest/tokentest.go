// Package tokentest issues access tokens in tests, as identity does.
package tokentest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/token"
)

// Identity publishes keys and signs tokens until its test ends.
type Identity struct {
	t testing.TB
	// URL is where the keys are, and the issuer.
	URL string

	mu      sync.Mutex
	keys    []token.Key
	fetched int
	down    bool
}

// New returns an Identity with one key, "key-1".
func New(t testing.TB) *Identity {
	t.Helper()
	i := &Identity{t: t, keys: []token.Key{NewKey(t, "key-1")}}
	server := httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	i.URL = server.URL
	return i
}

// NewKey returns a new key.
func NewKey(t testing.TB, id string) token.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Key{ID: id, Private: private}
}

func (i *Identity) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetched++
	if i.down || r.URL.Path != token.JWKSPath {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	set := jwk.NewSet()
	for _, key := range i.keys {
		public, err := key.Public()
		if err == nil {
			err = set.AddKey(public)
		}
		if err != nil {
			i.t.Errorf("publish key %s: %v", key.ID, err)
		}
	}
	_ = json.NewEncoder(w).Encode(set)
}

// SetKeys has it publish these keys. The first one signs.
func (i *Identity) SetKeys(keys ...token.Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// SetDown has it answer 503.
func (i *Identity) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Fetched counts how often the keys were asked for.
func (i *Identity) Fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched
}

// Token returns an access token of c.
func (i *Identity) Token(c caller.Caller) string {
	i.t.Helper()
	return i.TokenAt(c, time.Now())
}

// TokenAt returns an access token of c that is given at a time.
func (i *Identity) TokenAt(c caller.Caller, at time.Time) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[0]
	i.mu.Unlock()
	return i.SignedBy(key, c, at)
}

// SignedBy returns a token of c that a key signs at a time.
func (i *Identity) SignedBy(key token.Key, c caller.Caller, at time.Time) string {
	i.t.Helper()
	signed, err := token.Sign(key, i.URL, c, at)
	if err != nil {
		i.t.Fatal(err)
	}
	return signed
}
