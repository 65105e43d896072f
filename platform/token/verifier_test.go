package token_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"go.uber.org/goleak"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/tokentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var carl = caller.Caller{
	ID: "0190a5f0-0000-7000-8000-000000000001", Company: "acme", Groups: []string{"vip", "b2b"},
	Scopes: []string{"approver", "checkout:prices"}, Session: "0190a5f0-0000-7000-8000-000000000002",
}

func TestATokenSaysWhoItsBearerIs(t *testing.T) {
	identity := tokentest.New(t)
	v := token.NewVerifier(identity.URL, remote(t, identity))
	for _, want := range []caller.Caller{carl, {ID: "c1", Scopes: []string{}}} {
		for range 2 { // the second time from memory
			if got, err := v.Verify(t.Context(), identity.Token(want)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
	}
}

// A token is refused for each thing that is not as it must be, and for that alone.
func TestTokensThatAreRefused(t *testing.T) {
	identity := tokentest.New(t)
	key, stranger := tokentest.NewKey(t, "key-1"), tokentest.NewKey(t, "key-1")
	identity.SetKeys(key)
	v := token.NewVerifier(identity.URL, remote(t, identity))
	now := time.Now().Unix()
	v.SetClock(func() time.Time { return time.Unix(now, 0) })
	good := map[string]any{"iss": identity.URL, "aud": "quadrille", "sub": "c1", "iat": now, "exp": now + 300}
	with := func(changes map[string]any) map[string]any {
		claims := maps.Clone(good)
		maps.Copy(claims, changes)
		maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
		return claims
	}
	header := map[string]any{"alg": "EdDSA", "kid": "key-1", "typ": "at+jwt"}
	under := func(changes map[string]any) map[string]any {
		h := maps.Clone(header)
		maps.Copy(h, changes)
		maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
		return h
	}
	edDSA := func(k token.Key) func([]byte) []byte {
		return func(b []byte) []byte { return ed25519.Sign(k.Private, b) }
	}
	public, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	mac := func(secret []byte) func([]byte) []byte {
		return func(b []byte) []byte { m := hmac.New(sha256.New, secret); m.Write(b); return m.Sum(nil) }
	}
	none := func([]byte) []byte { return nil }
	valid := compact(t, header, good, edDSA(key))
	for name, c := range map[string]struct{ raw, code string }{
		"as it must be":                  {valid, ""},
		"several audiences":              {compact(t, header, with(map[string]any{"aud": []string{"x", "quadrille"}}), edDSA(key)), ""},
		"expired within the skew":        {compact(t, header, with(map[string]any{"exp": now - 55}), edDSA(key)), ""},
		"issued by a clock that is fast": {compact(t, header, with(map[string]any{"iat": now + 55}), edDSA(key)), ""},
		"expired":                        {compact(t, header, with(map[string]any{"exp": now - 65}), edDSA(key)), "token_expired"},
		"issued in the future":           {compact(t, header, with(map[string]any{"iat": now + 65}), edDSA(key)), "token_invalid"},
		"not yet valid":                  {compact(t, header, with(map[string]any{"nbf": now + 65}), edDSA(key)), "token_invalid"},
		"never expires":                  {compact(t, header, with(map[string]any{"exp": nil}), edDSA(key)), "token_invalid"},
		"of another issuer":              {compact(t, header, with(map[string]any{"iss": "https://elsewhere.example"}), edDSA(key)), "token_invalid"},
		"of no issuer":                   {compact(t, header, with(map[string]any{"iss": nil}), edDSA(key)), "token_invalid"},
		"for another audience":           {compact(t, header, with(map[string]any{"aud": "elsewhere"}), edDSA(key)), "token_invalid"},
		"for no audience":                {compact(t, header, with(map[string]any{"aud": nil}), edDSA(key)), "token_invalid"},
		"about nobody":                   {compact(t, header, with(map[string]any{"sub": nil}), edDSA(key)), "token_invalid"},
		"about somebody without a form":  {compact(t, header, with(map[string]any{"sub": "../c1"}), edDSA(key)), "token_invalid"},
		"of a company without a form":    {compact(t, header, with(map[string]any{"company": "a b"}), edDSA(key)), "token_invalid"},
		"groups that are a text":         {compact(t, header, with(map[string]any{"groups": "vip"}), edDSA(key)), "token_invalid"},
		"groups that are numbers":        {compact(t, header, with(map[string]any{"groups": []int{1}}), edDSA(key)), "token_invalid"},
		"signed by somebody else":        {compact(t, header, good, edDSA(stranger)), "token_invalid"},
		"signed by nobody":               {compact(t, header, good, none), "token_invalid"},
		"alg none":                       {compact(t, under(map[string]any{"alg": "none"}), good, none), "token_invalid"},
		"alg None":                       {compact(t, under(map[string]any{"alg": "None"}), good, none), "token_invalid"},
		"no alg":                         {compact(t, under(map[string]any{"alg": nil}), good, edDSA(key)), "token_invalid"},
		"alg HS256 with the public key":  {compact(t, under(map[string]any{"alg": "HS256"}), good, mac(key.Private.Public().(ed25519.PublicKey))), "token_invalid"},
		"alg HS256 with its DER form":    {compact(t, under(map[string]any{"alg": "HS256"}), good, mac(public)), "token_invalid"},
		"a key of its own":               {compact(t, under(map[string]any{"jwk": jwkOf(t, stranger)}), good, edDSA(stranger)), "token_invalid"},
		"a key from elsewhere":           {compact(t, under(map[string]any{"jku": "http://127.0.0.1:1/jwks"}), good, edDSA(stranger)), "token_invalid"},
		"names no key":                   {compact(t, under(map[string]any{"kid": nil}), good, edDSA(key)), "token_invalid"},
		"names an unknown key":           {compact(t, under(map[string]any{"kid": "key-2"}), good, edDSA(key)), "token_invalid"},
		"another kind of token":          {compact(t, under(map[string]any{"typ": "JWT"}), good, edDSA(key)), "token_invalid"},
		"a critical header":              {compact(t, under(map[string]any{"crit": []string{"x"}, "x": 1}), good, edDSA(key)), "token_invalid"},
		"altered":                        {valid[:len(valid)-8] + "AAAAAAAA", "token_invalid"},
		"as JSON":                        {asJSON(t, good, key), "token_invalid"},
		"nested":                         {compact(t, header, map[string]any{"jws": valid}, edDSA(key)), "token_invalid"},
		"very long":                      {compact(t, header, with(map[string]any{"x": strings.Repeat("x", 5_000)}), edDSA(key)), "token_invalid"},
		"empty":                          {"", "token_invalid"},
		"dots":                           {"..", "token_invalid"},
		"four parts":                     {valid + ".x", "token_invalid"},
	} {
		got, err := v.Verify(t.Context(), c.raw)
		if c.code == "" && (err != nil || got.ID != "c1") || c.code != "" && fault.Of(err).Code != c.code {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, c.code)
		}
	}
}

// What a verifier remembers does not outlive the token, nor its key.
func TestAVerifiedTokenEnds(t *testing.T) {
	identity := tokentest.New(t)
	first, second := tokentest.NewKey(t, "key-1"), tokentest.NewKey(t, "key-2")
	identity.SetKeys(first, second)
	keys := remote(t, identity)
	v := token.NewVerifier(identity.URL, keys)
	raw, old := identity.Token(carl), identity.SignedBy(first, carl, time.Now().Add(-token.TTL))
	for _, raw := range []string{raw, old} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	v.SetClock(func() time.Time { return time.Now().Add(token.Skew) })
	if _, err := v.Verify(t.Context(), old); fault.Of(err).Code != "token_expired" {
		t.Errorf("a remembered token that has expired: %v", err)
	}
	identity.SetKeys(second) // the first one is revoked
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), raw); fault.Of(err).Code != "token_invalid" {
		t.Errorf("a remembered token of a revoked key: %v", err)
	}
	stays := identity.Token(carl)
	if _, err := v.Verify(t.Context(), stays); err != nil {
		t.Errorf("a token of the key that stays: %v", err)
	}
	identity.SetKeys(tokentest.NewKey(t, second.ID)) // another one takes its name
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), stays); fault.Of(err).Code != "token_invalid" {
		t.Errorf("a remembered token whose key's name is another's now: %v", err)
	}
}

func compact(t *testing.T, header, claims map[string]any, sign func([]byte) []byte) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(header) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func asJSON(t *testing.T, claims map[string]any, key token.Key) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jws.Sign(payload, jws.WithJSON(), jws.WithKey(jwa.EdDSA(), key.Private))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func jwkOf(t *testing.T, key token.Key) any {
	t.Helper()
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func BenchmarkVerify(b *testing.B) {
	identity := tokentest.New(b)
	v := token.NewVerifier(identity.URL, remote(b, identity))
	raw := identity.Token(carl)
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			v.Forget()
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
