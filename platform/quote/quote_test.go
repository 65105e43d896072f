package quote_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/quote"
)

var now = time.Date(2026, 6, 15, 9, 30, 0, 0, time.UTC)

func key(id string) quote.Key {
	seed := sha256.Sum256([]byte(id))
	return quote.Key{ID: id, Private: ed25519.NewKeyFromSeed(seed[:]), Until: now.Add(time.Hour)}
}

func sample() *price.Quote {
	return &price.Quote{
		ID: uuid.MustParse("01977420-0000-7000-8000-00000000f00d"), Version: 7, CustomerID: "carl", CartID: "cart-1", Currency: "GBP",
		Lines: []price.Line{
			{SKU: "71053", Quantity: 1, ListPrice: 339, UnitPrice: 339, Total: 305, Tax: 61, Adjustments: []price.Adjustment{{Name: "ten", Amount: -34}}},
			{SKU: "85123A", Quantity: 6, ListPrice: 295, UnitPrice: 255, Total: 1377, Tax: 275, Adjustments: []price.Adjustment{{Name: "ten", Amount: -153}}},
		},
		Adjustments: []price.Adjustment{{Name: "ten", Amount: -187}}, Shipping: 395, Tax: 415, Total: 305 + 1377 + 395 + 415,
		Groups: []string{"trade"}, Voucher: "TEN", IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	}
}

func keysOf(t *testing.T, list ...quote.Key) quote.Keys {
	t.Helper()
	jwks, err := quote.Publish(list)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := quote.ParseKeys(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func signed(t *testing.T, k quote.Key, q *price.Quote) string {
	t.Helper()
	token, err := quote.Sign(k, q)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAQuoteComesBackAsItWasSigned(t *testing.T) {
	token := signed(t, key("a"), sample())
	got, err := keysOf(t, key("b"), key("a")).Verify(token, now)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("verified %+v, %v", got, err)
	}
	if got, err = quote.Read(token); err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestForgeriesAreRefused(t *testing.T) {
	token := signed(t, key("a"), sample())
	part := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	other := key("a")
	other.Private = key("b").Private
	header := jws.NewHeaders()
	if err := errors.Join(header.Set(jws.KeyIDKey, "a"), header.Set(jws.TypeKey, "at+jwt")); err != nil {
		t.Fatal(err)
	}
	access, err := jws.Sign(payload, jws.WithKey(jwa.EdDSA(), key("a").Private, jws.WithProtectedHeaders(header)))
	if err != nil {
		t.Fatal(err)
	}
	header = jws.NewHeaders()
	if err := errors.Join(header.Set(jws.KeyIDKey, "a"), header.Set(jws.TypeKey, "quote+jws")); err != nil {
		t.Fatal(err)
	}
	confused, err := jws.Sign(payload, jws.WithKey(jwa.HS256(), []byte(key("a").Private.Public().(ed25519.PublicKey)), jws.WithProtectedHeaders(header)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		at    time.Time
		want  error
	}{
		"another customer":       {part[0] + "." + encode(strings.Replace(string(payload), "carl", "dora", 1)) + "." + part[2], now, quote.ErrInvalid},
		"no signature":           {part[0] + "." + part[1] + ".", now, quote.ErrInvalid},
		"alg none":               {encode(`{"alg":"none","kid":"a","typ":"quote+jws"}`) + "." + part[1] + ".", now, quote.ErrInvalid},
		"another's key":          {signed(t, other, sample()), now, quote.ErrInvalid},
		"the public key as HMAC": {string(confused), now, quote.ErrInvalid},
		"an access token":        {string(access), now, quote.ErrInvalid},
		"nothing":                {"", now, quote.ErrInvalid},
		"garbage":                {"a.b.c", now, quote.ErrInvalid},
		"an unknown key":         {signed(t, key("c"), sample()), now, quote.ErrUnknownKey},
		"a retired key":          {token, now.Add(time.Hour), quote.ErrInvalid},
	} {
		if q, err := keysOf(t, key("a"), key("b")).Verify(c.token, c.at); !errors.Is(err, c.want) || q != nil {
			t.Errorf("%s: %+v, %v, want %v", name, q, err, c.want)
		}
	}
	if _, err := keysOf(t, key("a")).Verify(token, now.Add(time.Hour-time.Second)); err != nil {
		t.Errorf("a second before its key is retired: %v", err)
	}
}

func TestSumsThatAreNotExactAreNotSigned(t *testing.T) {
	for name, change := range map[string]func(*price.Quote){
		"total":             func(q *price.Quote) { q.Total++ },
		"line's total":      func(q *price.Quote) { q.Lines[0].Total-- },
		"above list price":  func(q *price.Quote) { q.Lines[0].ListPrice-- },
		"negative line":     func(q *price.Quote) { q.Lines[0].Total = -1 },
		"an addition":       func(q *price.Quote) { q.Lines[0].Adjustments[0].Amount = 34 },
		"adjustments":       func(q *price.Quote) { q.Adjustments = nil },
		"other adjustments": func(q *price.Quote) { q.Adjustments[0].Amount-- },
		"tax":               func(q *price.Quote) { q.Tax = 1 },
		"order of lines":    func(q *price.Quote) { q.Lines[0], q.Lines[1] = q.Lines[1], q.Lines[0] },
		"expiry":            func(q *price.Quote) { q.ExpiresAt = q.IssuedAt },
		"no lines":          func(q *price.Quote) { q.Lines = nil },
	} {
		q := sample()
		change(q)
		if token, err := quote.Sign(key("a"), q); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
}

func TestKeysWithoutAnEndAreNotTaken(t *testing.T) {
	for _, jwks := range []string{
		"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"oct","kid":"a","k":"AAAA","exp":4102444800}]}`,
	} {
		if keys, err := quote.ParseKeys([]byte(jwks)); err == nil {
			t.Errorf("%s: %v", jwks, keys)
		}
	}
}
