package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/fault"
)

const (
	// providerTimeout bounds a call to a provider. A request makes up to three: it must end
	// within the time that the request itself has.
	providerTimeout = 1500 * time.Millisecond
	// maxProviderAnswer bounds what is read of an answer, in bytes.
	maxProviderAnswer = 1 << 20
	// discoveryLife is how long what a provider says of itself is kept, its keys too: a key
	// that it took back is trusted no longer.
	discoveryLife = time.Hour
	// keysEvery and keysBurst bound how often a provider's keys are fetched: go-oidc does it
	// for each token whose key it does not know or whose signature is wrong.
	keysEvery = 10 * time.Second
	keysBurst = 3
)

// openIDProvider is one in the setting of OpenID providers.
type openIDProvider struct {
	// Name is in paths, and what the shop shows.
	Name         string `json:"name"`
	Issuer       string `json:"issuer"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// readOpenIDProviders reads the relying parties of the providers that are set, in their
// order. Where none is, there is no sign-in by OpenID.
func readOpenIDProviders(r *config.Reader, redirectURL string) []*relyingParty {
	const name = "QUADRILLE_OPENID_PROVIDERS"
	text := r.About(`OpenID providers to sign in with, as JSON: [{"name","issuer","client_id","client_secret"}]`).OptionalSecret(name)
	if text == "" {
		return nil
	}
	providers, err := parseProviders(text.Reveal())
	if err != nil {
		r.Fault(name, err)
		return nil
	}
	parties := make([]*relyingParty, len(providers))
	for i, p := range providers {
		parties[i] = newRelyingParty(p, redirectURL)
	}
	return parties
}

func parseProviders(text string) ([]openIDProvider, error) {
	var providers []openIDProvider
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&providers); err != nil {
		return nil, errors.New("is not a JSON list of providers with name, issuer, client_id and client_secret")
	}
	var faults []error
	for i, p := range providers {
		issuer, err := url.Parse(p.Issuer)
		same := func(o openIDProvider) bool { return o.Name == p.Name || o.Issuer == p.Issuer }
		switch {
		case !providerName.MatchString(p.Name):
			faults = append(faults, fmt.Errorf("has a provider called %q, want small letters, digits and dashes", p.Name))
		case err != nil || issuer.Host == "" || issuer.Scheme != "https" && !isLoopback(issuer.Hostname()):
			faults = append(faults, fmt.Errorf("has the issuer %q for %s, want an https URL", p.Issuer, p.Name))
		case p.ClientID == "" || p.ClientSecret == "":
			faults = append(faults, fmt.Errorf("has no client_id or no client_secret for %s", p.Name))
		case slices.ContainsFunc(providers[:i], same):
			faults = append(faults, fmt.Errorf("has the name or the issuer of %s twice", p.Name))
		}
	}
	return providers, errors.Join(faults...)
}

// person is somebody whom a provider vouches for. Issuer and Subject tell who it is, for
// ever; an address may be given to somebody else.
type person struct {
	Issuer, Subject string
	// Email is "" unless the provider has verified it.
	Email string
}

// relyingParty signs people in by one provider.
type relyingParty struct {
	cfg      openIDProvider
	redirect string
	http     *http.Client
	now      func() time.Time
	keys     *rate.Limiter

	mu    sync.Mutex
	found *discovered
}

// discovered is what a provider says of itself.
type discovered struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	// namesIssuer says that it names itself beside the code (RFC 9207).
	namesIssuer bool
	until       time.Time
}

func newRelyingParty(p openIDProvider, redirectURL string) *relyingParty {
	return &relyingParty{
		cfg: p, redirect: redirectURL, now: time.Now,
		keys: rate.NewLimiter(rate.Every(keysEvery), keysBurst),
		http: &http.Client{
			Timeout:       providerTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     bounded{http.DefaultTransport.(*http.Transport).Clone()}, //nolint:forcetypeassert // it is one
		},
	}
}

// bounded cuts answers off at maxProviderAnswer.
type bounded struct{ next *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxProviderAnswer), res.Body}
	return res, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (b bounded) CloseIdleConnections() { b.next.CloseIdleConnections() }

var errKeysJustFetched = errors.New("the provider's keys were fetched just now")

// seldom refuses to fetch keys too often.
type seldom struct {
	next  http.RoundTripper
	limit *rate.Limiter
}

func (s seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.limit.Allow() {
		return nil, errKeysJustFetched
	}
	return s.next.RoundTrip(r)
}

// discover reads what the provider says of itself, once an hour.
func (p *relyingParty) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && p.now().Before(p.found.until) {
		return p.found, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.cfg.Issuer)
	if err != nil {
		return nil, p.away(fmt.Errorf("discover: %w", err))
	}
	var more struct {
		Keys        string   `json:"jwks_uri"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, p.away(fmt.Errorf("read what it says of itself: %w", err))
	}
	fetching := *p.http
	fetching.Transport = seldom{p.http.Transport, p.keys}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &fetching), more.Keys) //nolint:contextcheck // it fetches later, for others
	p.found = &discovered{
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: provider.Endpoint(),
			RedirectURL: p.redirect, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail},
		},
		verifier: oidc.NewVerifier(p.cfg.Issuer, keys, &oidc.Config{
			ClientID: p.cfg.ClientID, SupportedSigningAlgs: more.Algorithms, Now: p.now,
		}),
		namesIssuer: more.NamesIssuer,
		until:       p.now().Add(discoveryLife),
	}
	return p.found, nil
}

// attempt is what must be kept of a sign-in until the provider sends the browser back.
type attempt struct {
	Provider string `json:"provider"`
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// begin returns where to send the browser.
func (p *relyingParty) begin(ctx context.Context) (to string, a attempt, err error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", attempt{}, err
	}
	a = attempt{Provider: p.cfg.Name, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	return d.oauth.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), a, nil
}

// arrival is what the provider sent the browser back with.
type arrival struct{ State, Code, Issuer string }

// finish asks the provider who it was. It belongs outside of transactions.
func (p *relyingParty) finish(ctx context.Context, a attempt, with arrival) (person, error) {
	if subtle.ConstantTimeCompare([]byte(a.State), []byte(with.State)) != 1 {
		return person{}, errSignInRefused(errors.New("another state"))
	}
	d, err := p.discover(ctx)
	if err != nil {
		return person{}, err
	}
	// A provider that is another's accomplice could have the code sent to it.
	if with.Issuer != "" && with.Issuer != p.cfg.Issuer || with.Issuer == "" && d.namesIssuer {
		return person{}, errSignInRefused(fmt.Errorf("the code comes from %q", with.Issuer))
	}
	ctx = oidc.ClientContext(ctx, p.http)
	tokens, err := d.oauth.Exchange(ctx, with.Code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return person{}, p.exchangeFault(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := d.verifier.Verify(ctx, raw)
	switch {
	case errors.Is(err, errKeysJustFetched):
		return person{}, p.away(err)
	case err != nil:
		return person{}, errSignInRefused(fmt.Errorf("verify the id token: %w", err))
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1:
		return person{}, errSignInRefused(errors.New("another nonce"))
	}
	return personOf(id)
}

func personOf(id *oidc.IDToken) (person, error) {
	var claims struct {
		Email string `json:"email"`
		// Verified is a text at some providers; anything but true or "true" is no.
		Verified any `json:"email_verified"`
	}
	if err := id.Claims(&claims); err != nil {
		return person{}, errSignInRefused(fmt.Errorf("read the id token: %w", err))
	}
	who := person{Issuer: id.Issuer, Subject: id.Subject}
	if claims.Verified == true || claims.Verified == "true" {
		who.Email = claims.Email
	}
	return who, nil
}

// exchangeFault tells a code that the provider refuses from a provider that is away.
func (p *relyingParty) exchangeFault(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.ErrorCode == "invalid_grant" {
		return errSignInRefused(errors.New("the provider refuses the code"))
	}
	return p.away(fmt.Errorf("exchange the code: %w", err))
}

// away says that the provider cannot be used now, for which it or our settings are to blame.
func (p *relyingParty) away(cause error) error {
	f := fault.New(fault.Unavailable, "provider_unavailable", "%s does not answer now; try again shortly, or sign in another way.", p.cfg.Name)
	f.Cause = cause
	return f
}

func errSignInRefused(cause error) error {
	f := fault.New(fault.Unauthorized, "sign_in_refused", "This sign-in is not valid, or not any more; begin again.")
	f.Cause = cause
	return f
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
