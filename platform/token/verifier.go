package token

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
)

const (
	// maxToken bounds an access token, in bytes. Ours have some 500.
	maxToken = 4 << 10
	// maxKept bounds how many tokens a verifier remembers, some 400 bytes each.
	maxKept = 8_192
)

// Keys finds the keys that tokens are signed with.
type Keys interface {
	// Key returns the public key of an id, or nil where the issuer has no such key. An error
	// says that this cannot be told now.
	Key(ctx context.Context, id string) (ed25519.PublicKey, error)
}

// Verifier verifies access tokens. Checking a signature takes some 60 microseconds, and the
// same token comes with each request of its bearer for minutes, so what was verified is
// remembered until it expires or its key is gone.
type Verifier struct {
	issuer string
	keys   Keys
	now    func() time.Time
	kept   kept
}

// NewVerifier returns a verifier of the tokens of an issuer, which their claim iss names.
func NewVerifier(issuer string, keys Keys) *Verifier {
	return &Verifier{issuer: issuer, keys: keys, now: time.Now}
}

// Verify returns who the bearer of a token is. An error is a fault: the token is not valid,
// or the keys are not there to tell.
func (v *Verifier) Verify(ctx context.Context, raw string) (caller.Caller, error) {
	if len(raw) > maxToken {
		return caller.Caller{}, invalid(errors.New("too long"))
	}
	sum := sha256.Sum256([]byte(raw))
	if known, ok := v.kept.get(sum); ok {
		return v.again(ctx, known)
	}
	id, err := keyID(raw)
	if err != nil {
		return caller.Caller{}, invalid(err)
	}
	key, err := v.key(ctx, id)
	if err != nil {
		return caller.Caller{}, err
	}
	t, err := jwt.ParseString(raw,
		jwt.WithKey(jwa.EdDSA(), key), jwt.WithIssuer(v.issuer), jwt.WithAudience(Audience),
		jwt.WithRequiredClaim(jwt.SubjectKey), jwt.WithRequiredClaim(jwt.IssuedAtKey), jwt.WithRequiredClaim(jwt.ExpirationKey),
		jwt.WithAcceptableSkew(Skew), jwt.WithClock(jwt.ClockFunc(v.now)))
	switch {
	case errors.Is(err, jwt.TokenExpiredError()):
		return caller.Caller{}, expired()
	case err != nil:
		return caller.Caller{}, invalid(err)
	}
	c, err := callerOf(t)
	if err != nil {
		return caller.Caller{}, invalid(err)
	}
	expiresAt, _ := t.Expiration()
	v.kept.put(sum, verified{caller: c, keyID: id, key: key, expiresAt: expiresAt})
	return c, nil
}

// again returns the bearer of a token that was verified before.
func (v *Verifier) again(ctx context.Context, known verified) (caller.Caller, error) {
	if !v.now().Before(known.expiresAt.Add(Skew)) {
		return caller.Caller{}, expired()
	}
	key, err := v.key(ctx, known.keyID)
	switch {
	case err != nil: // it may have been revoked
		return caller.Caller{}, err
	case !key.Equal(known.key):
		return caller.Caller{}, invalid(errors.New("its key is another one now"))
	default:
		return known.caller, nil
	}
}

func (v *Verifier) key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	key, err := v.keys.Key(ctx, id)
	switch {
	case err != nil:
		return nil, &fault.Fault{Kind: fault.Unavailable, Code: "token_keys", Cause: err,
			Message: "The keys that access tokens are signed with cannot be had now; try again shortly."}
	case key == nil:
		return nil, invalid(errors.New("no such key"))
	default:
		return key, nil
	}
}

// keyID reads which key a token says it is signed with, and refuses every form but ours
// before anything is computed.
func keyID(raw string) (string, error) {
	if strings.Count(raw, ".") != 2 {
		return "", errors.New("not a compact JWS")
	}
	m, err := jws.ParseString(raw, jws.WithCompact())
	if err != nil {
		return "", err
	}
	header := m.Signatures()[0].ProtectedHeaders()
	if alg, ok := header.Algorithm(); !ok || alg != jwa.EdDSA() {
		return "", errors.New("not signed with EdDSA")
	}
	if typ, ok := header.Type(); !ok || typ != mediaType {
		return "", errors.New("not an access token")
	}
	id, ok := header.KeyID()
	if !ok || id == "" {
		return "", errors.New("it names no key")
	}
	return id, nil
}

func callerOf(t jwt.Token) (c caller.Caller, err error) {
	c.ID, _ = t.Subject()
	var scope string
	for name, to := range map[string]any{claimSession: &c.Session, claimCompany: &c.Company, claimScope: &scope} {
		if !t.Has(name) {
			continue
		}
		if err := t.Get(name, to); err != nil {
			return c, err
		}
	}
	c.Scopes = strings.Fields(scope)
	if c.Groups, err = groups(t); err != nil {
		return c, err
	}
	if !events.ValidName(c.ID) || c.Company != "" && !events.ValidName(c.Company) {
		return c, errors.New("sub or company has not the form of an id")
	}
	return c, nil
}

func groups(t jwt.Token) (list []string, err error) {
	if !t.Has(claimGroups) {
		return nil, nil
	}
	var values []any
	if err := t.Get(claimGroups, &values); err != nil {
		return nil, err
	}
	for _, v := range values {
		name, ok := v.(string)
		if !ok {
			return nil, errors.New("groups is not a list of names")
		}
		list = append(list, name)
	}
	return list, nil
}

// invalid tells nobody why: only who forges tokens would learn from it.
func invalid(cause error) error {
	return &fault.Fault{Kind: fault.Unauthorized, Code: "token_invalid", Message: "The access token is not valid; get a new one.", Cause: cause}
}

func expired() error {
	return fault.New(fault.Unauthorized, "token_expired", "The access token has expired; get a new one with the refresh token.")
}

// verified is a token that was verified.
type verified struct {
	caller    caller.Caller
	keyID     string
	key       ed25519.PublicKey
	expiresAt time.Time
}

// kept remembers verified tokens by their hash: the younger half, and the older half, which
// is forgotten once the younger one is full.
type kept struct {
	mu          sync.Mutex
	young, aged map[[sha256.Size]byte]verified
}

func (k *kept) get(sum [sha256.Size]byte) (v verified, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok = k.young[sum]; ok {
		return v, true
	}
	if v, ok = k.aged[sum]; ok {
		k.add(sum, v)
	}
	return v, ok
}

func (k *kept) put(sum [sha256.Size]byte, v verified) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(sum, v)
}

func (k *kept) add(sum [sha256.Size]byte, v verified) {
	if k.young == nil || len(k.young) >= maxKept/2 {
		k.young, k.aged = make(map[[sha256.Size]byte]verified), k.young
	}
	k.young[sum] = v
}
