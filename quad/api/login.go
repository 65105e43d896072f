package api

import (
	"context"

	"fmt"
	"net/http"
	"net/url"

	"sync"
	"time"
)

// Credentials are what a program signs in with at identity.
type Credentials struct{ ID, Secret string }

// Login signs in at identity as a machine client, and again before its access token
// expires. It is for many goroutines.
type Login struct {
	identity    Access
	credentials Credentials
	sender      sender

	mu     sync.Mutex
	token  string
	expiry time.Time
}

// NewLogin returns a Login at identity's public port.
func NewLogin(identity Access, c Credentials) *Login {
	return &Login{identity: identity, credentials: c, sender: newSender(0)}
}

// Close ends idle connections.
func (l *Login) Close() { l.sender.http.CloseIdleConnections() }

// Token returns an access token that is valid for a while yet.
func (l *Login) Token(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token != "" && time.Now().Before(l.expiry) {
		return l.token, nil
	}
	r := l.identity.request(http.MethodPost, "/v1/tokens")
	r.form = url.Values{"grant_type": {"client_credentials"}, "client_id": {l.credentials.ID}, "client_secret": {l.credentials.Secret}}
	answer, err := call[struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}](ctx, l.sender, r)
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	l.token, l.expiry = answer.Token, time.Now().Add(time.Duration(answer.Expires)*time.Second-renewBefore)
	return l.token, nil
}
