package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/workflows/b2b/wire"
)

// refreshRetry is how long a refresh is repeated where its answer was lost, and refreshTimeout how
// long one attempt may take. Together they are below the 10 s in which identity answers the same
// refresh token with the same successor; after these it would end the session.
const (
	refreshRetry   = 5 * time.Second
	refreshTimeout = 3 * time.Second
)

// ErrSessionEnded says that somebody has to sign in again.
var ErrSessionEnded = errors.New("the session has ended")

// Tokens are what identity gives to somebody who signed in.
type Tokens struct {
	Access    string    `json:"access_token"`
	ExpiresIn int       `json:"expires_in"` // seconds
	Refresh   string    `json:"refresh_token"`
	AccountID uuid.UUID `json:"account_id"`
	SessionID uuid.UUID `json:"session_id"`
}

// Account is what identity tells somebody about the own account.
type Account struct {
	ID      uuid.UUID `json:"id"`
	Groups  []string  `json:"groups"`
	Scopes  []string  `json:"scopes"`
	Company string    `json:"company,omitempty"`
}

// Person calls the gateway as somebody who signed in. It is for one goroutine at a time.
type Person struct {
	gateway Access
	sender  sender
}

// NewPerson returns a Person at the gateway's address, without an access token.
func NewPerson(gateway string) *Person {
	return &Person{gateway: Access{URL: gateway}, sender: newSender(0)}
}

// Close ends idle connections.
func (p *Person) Close() { p.sender.http.CloseIdleConnections() }

// Use has calls carry an access token.
func (p *Person) Use(accessToken string) { p.gateway.Token = accessToken }

// SignIn opens a session.
func (p *Person) SignIn(ctx context.Context, email, password string) (Tokens, error) {
	r := Access{URL: p.gateway.URL}.request(http.MethodPost, "/v1/sessions")
	r.body = map[string]string{"email": email, "password": password}
	return call[Tokens](ctx, p.sender, r)
}

// Refresh exchanges a refresh token for its successor and a new access token. It returns
// ErrSessionEnded where it is not valid any more.
func (p *Person) Refresh(ctx context.Context, token string) (Tokens, error) {
	r := Access{URL: p.gateway.URL}.request(http.MethodPost, "/v1/tokens")
	r.form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	client := *p.sender.http
	client.Timeout = refreshTimeout
	tokens, err := call[Tokens](ctx, sender{&client, refreshRetry}, r)
	if IsProblem(err, "invalid_grant") {
		return tokens, ErrSessionEnded
	}
	return tokens, err
}

// SignOut ends the session of a refresh token. One that has ended is no error.
func (p *Person) SignOut(ctx context.Context, token string) error {
	r := Access{URL: p.gateway.URL}.request(http.MethodPost, "/v1/tokens/revoke")
	r.form = url.Values{"token": {token}}
	_, err := call[struct{}](ctx, p.sender, r)
	return err
}

// Account returns the own account.
func (p *Person) Account(ctx context.Context) (Account, error) {
	account, err := call[Account](ctx, p.sender, p.gateway.request(http.MethodGet, "/v1/accounts/me"))
	return account, signedOut(err)
}

// SessionEnds returns when the session of the access token ends.
func (p *Person) SessionEnds(ctx context.Context) (time.Time, error) {
	list, err := call[struct {
		Sessions []struct {
			Current bool      `json:"current"`
			Ends    time.Time `json:"expires_at"`
		} `json:"sessions"`
	}](ctx, p.sender, p.gateway.request(http.MethodGet, "/v1/sessions"))
	if err != nil {
		return time.Time{}, signedOut(err)
	}
	for _, s := range list.Sessions {
		if s.Current {
			return s.Ends, nil
		}
	}
	return time.Time{}, ErrSessionEnded
}

// Decide records the person's own decision on an order. The same one may be sent again.
func (p *Person) Decide(ctx context.Context, id uuid.UUID, v wire.Vote) (wire.Poll, error) {
	r := p.gateway.request(http.MethodPost, companyOrderPath(id)+"/approval")
	r.body = v
	poll, err := call[wire.Poll](ctx, p.sender, r)
	return poll, signedOut(err)
}

// Approvals is Client.Approvals of what waits for the person.
func (p *Person) Approvals(ctx context.Context, most int) ([]wire.Pending, error) {
	list, err := listApprovals(ctx, p.sender, p.gateway, url.Values{}, most)
	return list, signedOut(err)
}

// signedOut has a refused access token say what it means to who sent it.
func signedOut(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok && p.Status == http.StatusUnauthorized {
		return fmt.Errorf("%w: %w", ErrSessionEnded, err)
	}
	return err
}
