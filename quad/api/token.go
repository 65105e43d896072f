package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"quadrille.internal/platform/caller"
)

// tokens are the access tokens that identity gave, by caller, until shortly before they end.
type tokens struct {
	mu   sync.Mutex
	kept map[string]accessToken
}

type accessToken struct {
	Text      string `json:"access_token"`
	ExpiresIn int    `json:"expires_in"` // seconds
	until     time.Time
}

// maxTokens bounds how many are kept.
const maxTokens = 1_000

// renewBefore is how long before its end a token is not used any more.
const renewBefore = time.Minute

// as has a request made in somebody's name. What cannot be a name is left to the service,
// which says which field holds it.
func (c *Client) as(ctx context.Context, by caller.Caller, r request) request {
	if _, _, err := caller.Parse(http.Header{caller.Header: {by.String()}}); err != nil {
		return r
	}
	if c.urls.IdentityAdmin == (Access{}) {
		return r.with(map[string]string{caller.Header: by.String()})
	}
	text, err := c.tokenOf(ctx, by)
	r.err = errors.Join(r.err, err)
	return r.with(map[string]string{"Authorization": "Bearer " + text})
}

func (c *Client) tokenOf(ctx context.Context, by caller.Caller) (string, error) {
	c.tokens.mu.Lock()
	defer c.tokens.mu.Unlock()
	key := by.String() + " " + strings.Join(by.Scopes, " ")
	if t, ok := c.tokens.kept[key]; ok && time.Now().Before(t.until) {
		return t.Text, nil
	}
	r := c.urls.IdentityAdmin.request(http.MethodPost, "/v1/access-tokens")
	r.body = map[string]any{"subject": by.ID, "company": by.Company, "scopes": append([]string{}, by.Scopes...)}
	t, err := call[accessToken](ctx, c.sender, r)
	if err != nil {
		return "", err
	}
	t.until = time.Now().Add(time.Duration(t.ExpiresIn)*time.Second - renewBefore)
	if len(c.tokens.kept)%maxTokens == 0 {
		c.tokens.kept = make(map[string]accessToken)
	}
	c.tokens.kept[key] = t
	return t.Text, nil
}
