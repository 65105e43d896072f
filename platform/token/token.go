// Package token issues and verifies access tokens: JWTs that identity signs with EdDSA
// (Ed25519) and every service verifies by identity's published keys. The JOSE part is that
// of lestrrat-go/jwx.
package token

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"quadrille.internal/platform/caller"
)

const (
	// Audience is the one that all access tokens have.
	Audience = "quadrille"
	// TTL is how long an access token is valid.
	TTL = 5 * time.Minute
	// Skew is how much the clocks of issuer and verifier may differ.
	Skew = 60 * time.Second

	// mediaType is the header typ of access tokens (RFC 9068). No other token that is signed
	// with the same keys may have it.
	mediaType = "at+jwt"

	claimSession = "sid"
	claimGroups  = "groups"
	claimScope   = "scope"
	claimCompany = "company"
)

// Key is a key that signs.
type Key struct {
	ID      string
	Private ed25519.PrivateKey
}

// Public returns what verifiers need of the key.
func (k Key) Public() (jwk.Key, error) {
	public, err := jwk.Import(k.Private.Public())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.ID, err)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: k.ID, jwk.AlgorithmKey: jwa.EdDSA(), jwk.KeyUsageKey: jwk.ForSignature} {
		if err := public.Set(name, value); err != nil {
			return nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
	}
	return public, nil
}

// Sign returns an access token of c, valid from now for TTL.
func Sign(key Key, issuer string, c caller.Caller, now time.Time) (string, error) {
	builder := jwt.NewBuilder().Issuer(issuer).Audience([]string{Audience}).Subject(c.ID).
		IssuedAt(now).Expiration(now.Add(TTL))
	if c.Session != "" {
		builder = builder.Claim(claimSession, c.Session)
	}
	if len(c.Groups) > 0 {
		builder = builder.Claim(claimGroups, c.Groups)
	}
	if len(c.Scopes) > 0 {
		builder = builder.Claim(claimScope, strings.Join(c.Scopes, " "))
	}
	if c.Company != "" {
		builder = builder.Claim(claimCompany, c.Company)
	}
	t, err := builder.Build()
	if err != nil {
		return "", fmt.Errorf("access token: %w", err)
	}
	header := jws.NewHeaders()
	for name, value := range map[string]any{jws.KeyIDKey: key.ID, jws.TypeKey: mediaType} {
		if err := header.Set(name, value); err != nil {
			return "", fmt.Errorf("access token: %w", err)
		}
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.EdDSA(), key.Private, jws.WithProtectedHeaders(header)))
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return string(signed), nil
}
