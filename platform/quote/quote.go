// Package quote signs and verifies quotes of price: a compact JWS (RFC 7515), signed with
// EdDSA, whose payload is an events/price.Quote in JSON. The JOSE part is that of
// lestrrat-go/jwx.
package quote

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"quadrille.internal/events/price"
)

// mediaType is the header typ of quotes. No other token has it, so that none is taken for a
// quote, whatever key signed it.
const mediaType = "quote+jws"

// expiryName is the member of a JWK that says until when its signatures are taken.
const expiryName = "exp"

var (
	// ErrInvalid says that a token is no quote, or not signed by a key that is good now.
	ErrInvalid = errors.New("not a quote that price signed")
	// ErrUnknownKey is an ErrInvalid of a token that names a key that is not in the set: a
	// newer set may have it.
	ErrUnknownKey = fmt.Errorf("%w: its key is not known", ErrInvalid)
	// ErrRetiredKey is an ErrInvalid of a token whose key is not good any more.
	ErrRetiredKey = fmt.Errorf("%w: its key is retired", ErrInvalid)
)

// Key is a key that signs.
type Key struct {
	ID      string
	Private ed25519.PrivateKey
	// Until is when its signatures are not taken any more.
	Until time.Time
}

// Sign returns the token of a quote.
func Sign(k Key, q *price.Quote) (string, error) {
	if err := q.Validate(); err != nil {
		return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
	}
	payload, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
	}
	header := jws.NewHeaders()
	for name, value := range map[string]any{jws.KeyIDKey: k.ID, jws.TypeKey: mediaType} {
		if err := header.Set(name, value); err != nil {
			return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
		}
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.EdDSA(), k.Private, jws.WithProtectedHeaders(header)))
	if err != nil {
		return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
	}
	return string(token), nil
}

// Publish returns the public parts of keys as a JWK set, in JSON.
func Publish(keys []Key) ([]byte, error) {
	set := jwk.NewSet()
	for _, k := range keys {
		public, err := jwk.Import(k.Private.Public())
		if err != nil {
			return nil, fmt.Errorf("publish key %s: %w", k.ID, err)
		}
		for name, value := range map[string]any{
			jwk.KeyIDKey: k.ID, jwk.AlgorithmKey: jwa.EdDSA(), jwk.KeyUsageKey: jwk.ForSignature, expiryName: k.Until.Unix(),
		} {
			if err := public.Set(name, value); err != nil {
				return nil, fmt.Errorf("publish key %s: %w", k.ID, err)
			}
		}
		if err := set.AddKey(public); err != nil {
			return nil, fmt.Errorf("publish key %s: %w", k.ID, err)
		}
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("publish keys: %w", err)
	}
	return jwks, nil
}

// Keys are public keys by id. They are not changed once they are made.
type Keys map[string]publicKey

type publicKey struct {
	key   ed25519.PublicKey
	until time.Time
}

// ParseKeys reads a JWK set as price.Keys answers it. Keys of other kinds are left out.
func ParseKeys(jwks []byte) (Keys, error) {
	set, err := jwk.Parse(jwks)
	if err != nil {
		return nil, fmt.Errorf("read the keys of price: %w", err)
	}
	keys := make(Keys)
	for i := range set.Len() {
		k, _ := set.Key(i)
		id, named := k.KeyID()
		var until float64
		if err := k.Get(expiryName, &until); err != nil || !named {
			continue
		}
		var public ed25519.PublicKey
		if err := jwk.Export(k, &public); err != nil {
			continue
		}
		keys[id] = publicKey{public, time.Unix(int64(until), 0)}
	}
	if len(keys) == 0 {
		return nil, errors.New("read the keys of price: there is no Ed25519 key with kid and exp among them")
	}
	return keys, nil
}

// Verify returns the quote of a token that was signed with a key which is good now. It does
// not say whether the quote is still valid, or whose it is: see Quote.Valid and CustomerID.
func (keys Keys) Verify(token string, now time.Time) (*price.Quote, error) {
	message, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil || len(message.Signatures()) != 1 {
		return nil, ErrInvalid
	}
	header := message.Signatures()[0].ProtectedHeaders()
	kind, _ := header.Type()
	id, _ := header.KeyID()
	if kind != mediaType {
		return nil, ErrInvalid
	}
	key, known := keys[id]
	if !known {
		return nil, ErrUnknownKey
	}
	if !now.Before(key.until) {
		return nil, ErrRetiredKey
	}
	payload, err := jws.Verify([]byte(token), jws.WithKey(jwa.EdDSA(), key.key), jws.WithCompact())
	if err != nil {
		return nil, ErrInvalid
	}
	return decode(payload)
}

// Read returns the quote of a token that price itself gave just now, which need not be
// verified. What came by way of a browser is verified.
func Read(token string) (*price.Quote, error) {
	message, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil {
		return nil, ErrInvalid
	}
	return decode(message.Payload())
}

func decode(payload []byte) (*price.Quote, error) {
	var q price.Quote
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &q, nil
}
