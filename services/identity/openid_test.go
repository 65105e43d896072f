package identity

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quadrille.internal/platform/fault"
)

func arrived(q url.Values) arrival {
	return arrival{State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss")}
}

func TestSignInAtARealProvider(t *testing.T) {
	provider := startOIDCProvider(t)
	party := provider.party()
	for name, email := range map[string]string{"ann": "ann@shop.example", "unverified-bob": ""} {
		to, a, err := party.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		who, err := party.finish(t.Context(), a, arrived(provider.signIn(to, name)))
		if err != nil {
			t.Fatal(err)
		}
		if want := (person{provider.issuer, name, email}); who != want {
			t.Errorf("the provider vouches for %+v, want %+v", who, want)
		}
	}
}

func TestWhatARealProviderSentIsForOneAttemptOnly(t *testing.T) {
	provider := startOIDCProvider(t)
	party := provider.party()
	for _, c := range []struct {
		name  string
		alter func(a *attempt, with *arrival)
		code  string
	}{
		{"another state", func(_ *attempt, with *arrival) { with.State = "x" }, "sign_in_refused"},
		{"another nonce", func(a *attempt, _ *arrival) { a.Nonce = "x" }, "sign_in_refused"},
		{"another verifier", func(a *attempt, _ *arrival) { a.Verifier = strings.Repeat("x", 43) }, "sign_in_refused"},
		{"another code", func(_ *attempt, with *arrival) { with.Code = "x" }, "sign_in_refused"},
		{"another issuer", func(_ *attempt, with *arrival) { with.Issuer = "https://evil.example" }, "sign_in_refused"},
		{"no issuer, which this one names", func(_ *attempt, with *arrival) { with.Issuer = "" }, "sign_in_refused"},
		{"as it was", func(*attempt, *arrival) {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			to, a, err := party.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			with := arrived(provider.signIn(to, "ann"))
			c.alter(&a, &with)
			_, err = party.finish(t.Context(), a, with)
			if code := codeOf(err); code != c.code {
				t.Errorf("finish: %v, want code %q", err, c.code)
			}
			if c.code == "" {
				if _, err := party.finish(t.Context(), a, with); codeOf(err) != "sign_in_refused" {
					t.Errorf("the code again: %v", err)
				}
			}
		})
	}
}

// codeOf an error is "" where there is none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Code
}

// forger is a provider that issues what a test wants it to, to show what a real one never does.
type forger struct {
	*httptest.Server
	key     ed25519.PrivateKey
	kid     string
	header  map[string]any
	claims  map[string]any
	fetched atomic.Int64
}

func newForger(t *testing.T) *forger {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{key: key, kid: "one"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"EdDSA", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		f.fetched.Add(1)
		public := f.key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // it is one
		answer(w, map[string]any{"keys": []any{map[string]any{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": base64.RawURLEncoding.EncodeToString(public),
		}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": f.token()})
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (f *forger) token() string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(f.header) + "." + part(f.claims)
	if f.header["alg"] == "HS256" {
		m := hmac.New(sha256.New, []byte(clientSecret))
		m.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(f.key, []byte(signed)))
}

// finish signs in with a token that a test has altered.
func (f *forger) finish(t *testing.T, party *relyingParty, alter func(*forger)) (person, error) {
	t.Helper()
	_, a, err := party.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.header = map[string]any{"alg": "EdDSA", "kid": "one", "typ": "JWT"}
	f.claims = map[string]any{
		"iss": f.URL, "sub": "ann", "aud": clientID, "nonce": a.Nonce, "email": "ann@shop.example", "email_verified": true,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	alter(f)
	return party.finish(t.Context(), a, arrival{State: a.State, Code: "code"})
}

func (f *forger) party(t *testing.T) *relyingParty {
	party := newRelyingParty(openIDProvider{Name: "forger", Issuer: f.URL, ClientID: clientID, ClientSecret: clientSecret}, redirectURL)
	party.http.Timeout = time.Minute // on a machine that is busy
	t.Cleanup(party.http.CloseIdleConnections)
	return party
}

func TestIDTokensThatAreRefused(t *testing.T) {
	f := newForger(t)
	party := f.party(t)
	for _, c := range []struct {
		name  string
		alter func(f *forger)
		email string
		fails bool
	}{
		{"as it should be", func(*forger) {}, "ann@shop.example", false},
		{"verified as a text", func(f *forger) { f.claims["email_verified"] = "true" }, "ann@shop.example", false},
		{"not verified", func(f *forger) { f.claims["email_verified"] = "false" }, "", false},
		{"verified, who knows", func(f *forger) { delete(f.claims, "email_verified") }, "", false},
		{"verified as a number", func(f *forger) { f.claims["email_verified"] = 1 }, "", false},
		{"for another client", func(f *forger) { f.claims["aud"] = "another" }, "", true},
		{"of another issuer", func(f *forger) { f.claims["iss"] = "https://accounts.example" }, "", true},
		{"expired", func(f *forger) { f.claims["exp"] = time.Now().Add(-time.Minute).Unix() }, "", true},
		{"without nonce", func(f *forger) { delete(f.claims, "nonce") }, "", true},
		{"alg none", func(f *forger) { f.header["alg"] = "none" }, "", true},
		{"signed with the client's secret", func(f *forger) { f.header["alg"] = "HS256" }, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, err := f.finish(t, party, c.alter)
			if (err != nil) != c.fails || c.fails && codeOf(err) != "sign_in_refused" {
				t.Fatalf("finish: %v", err)
			}
			if who.Email != c.email {
				t.Errorf("the address is %q, want %q", who.Email, c.email)
			}
		})
	}
}

func TestKeysAreNotFetchedForEachUnknownOne(t *testing.T) {
	f := newForger(t)
	party, began := f.party(t), time.Now()
	for n := range 50 {
		_, err := f.finish(t, party, func(f *forger) { f.header["kid"] = fmt.Sprint("unknown-", n) })
		if code := codeOf(err); code != "sign_in_refused" && code != "provider_unavailable" {
			t.Fatalf("an unknown key: %v", err)
		}
	}
	if n, most := f.fetched.Load(), keysBurst+int64(time.Since(began)/keysEvery); n > most {
		t.Errorf("the keys were fetched %d times, want %d at most", n, most)
	}
	if _, err := f.finish(t, party, func(*forger) {}); err != nil {
		t.Errorf("a key that is known, meanwhile: %v", err)
	}
}

func TestWhatAProviderSaysOfItselfIsReadAgain(t *testing.T) {
	f := newForger(t)
	party := f.party(t)
	now := time.Now()
	party.now = func() time.Time { return now }
	for range 2 {
		if _, err := f.finish(t, party, func(*forger) {}); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.fetched.Load(); n != 1 {
		t.Errorf("keys were fetched %d times, want once", n)
	}
	now = now.Add(discoveryLife)
	_, err := f.finish(t, party, func(f *forger) { f.claims["exp"] = now.Add(time.Minute).Unix() })
	if n := f.fetched.Load(); err != nil || n != 2 {
		t.Errorf("after an hour: %v, keys fetched %d times, want twice", err, n)
	}
}

func TestAProviderThatHangs(t *testing.T) {
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(ended) })
	party := newRelyingParty(openIDProvider{Name: "slow", Issuer: srv.URL}, redirectURL)
	t.Cleanup(party.http.CloseIdleConnections)
	if _, _, err := party.begin(t.Context()); codeOf(err) != "provider_unavailable" {
		t.Errorf("begin: %v", err)
	}
}

func TestProvidersThatAreSet(t *testing.T) {
	const good = `{"name":"a","issuer":"https://a.example","client_id":"i","client_secret":"s"}`
	for _, c := range []struct{ text, fault string }{
		{`[` + good + `]`, ""},
		{`[{"name":"a","issuer":"http://127.0.0.1:80","client_id":"i","client_secret":"s"}]`, ""},
		{`{}`, "not a JSON list"},
		{`[{"nom":"a"}]`, "not a JSON list"},
		{`[{"name":"A","issuer":"https://a.example","client_id":"i","client_secret":"s"}]`, `called "A"`},
		{`[{"name":"a","issuer":"http://a.example","client_id":"i","client_secret":"s"}]`, "https URL"},
		{`[{"name":"a","issuer":"https://a.example","client_id":"i"}]`, "client_secret"},
		{`[` + good + `,` + strings.Replace(good, `"name":"a"`, `"name":"b"`, 1) + `]`, "twice"},
	} {
		_, err := parseProviders(c.text)
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %q", c.text, err, c.fault)
		}
	}
}
