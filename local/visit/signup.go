package visit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// mailTime bounds how long a customer waits for a mail.
const mailTime = time.Minute

// Mailbox is where the mail provider's stand-in shows the mail that it took.
type Mailbox struct{ URL, Key string }

var tokenInMail = regexp.MustCompile(`#token=([A-Z2-7]+)`)

// token returns the token in the link of the mail to an address, or "".
func (m Mailbox) token(ctx context.Context, client *http.Client, address string) (string, error) {
	page, err := call[struct {
		Data []struct {
			Text string `json:"text"`
		} `json:"data"`
	}](ctx, client, request{
		method: http.MethodGet, url: m.URL + "/v1/messages?limit=1000&to=" + url.QueryEscape(address),
		header: map[string]string{"Authorization": "Bearer " + m.Key},
	})
	if err != nil {
		return "", fmt.Errorf("read the mail: %w", err)
	}
	for _, mail := range page.Data {
		if found := tokenInMail.FindStringSubmatch(mail.Text); found != nil {
			return found[1], nil
		}
	}
	return "", nil
}

// SignUp registers an address that has no account, follows the link in the mail, and is signed
// in. It may be repeated until it succeeds: an address is not mailed to more than a few times.
func (s *Shop) SignUp(ctx context.Context, email, password string) (*Customer, error) {
	token, err := s.mailbox.token(ctx, s.mail, email)
	if err == nil && token == "" {
		token, err = s.register(ctx, email)
	}
	if err != nil {
		return nil, err
	}
	customer, err := s.enter(ctx, "/v1/accounts/confirm", map[string]string{"token": token, "password": password}, email, password)
	if problem, no := errors.AsType[*Problem](err); no && problem.Code == "token_void" {
		return s.SignIn(ctx, email, password) // the answer to an earlier try was lost
	}
	return customer, err
}

// register returns the token that is mailed.
func (s *Shop) register(ctx context.Context, email string) (token string, err error) {
	if _, err := call[struct{}](ctx, s.http, request{method: http.MethodPost, url: s.gateway + "/v1/accounts", body: map[string]string{"email": email}}); err != nil {
		return "", fmt.Errorf("register: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	for {
		if token, err = s.mailbox.token(ctx, s.mail, email); token != "" || err != nil {
			return token, err
		}
		select {
		case <-ctx.Done():
			return "", errors.Join(errors.New("no mail came"), ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// SignIn opens a session.
func (s *Shop) SignIn(ctx context.Context, email, password string) (*Customer, error) {
	return s.enter(ctx, "/v1/sessions", map[string]string{"email": email, "password": password}, email, password)
}

// tokens are what identity gives to somebody who signs in.
type tokens struct {
	Access    string    `json:"access_token"`
	Refresh   string    `json:"refresh_token"`
	AccountID uuid.UUID `json:"account_id"`
}

// enter sends what opens a session, or renews one.
func (s *Shop) enter(ctx context.Context, path string, body any, email, password string) (*Customer, error) {
	session, err := call[tokens](ctx, s.http, request{method: http.MethodPost, url: s.gateway + path, body: body})
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	return &Customer{shop: s, ID: session.AccountID.String(), session: session, email: email, password: password}, nil
}

// ask calls as the customer, with a new access token where the old one has ended. A customer
// does one thing at a time.
func ask[T any](ctx context.Context, c *Customer, r request) (T, error) {
	send := func() (T, error) {
		r.header["Authorization"] = "Bearer " + c.session.Access
		return call[T](ctx, c.shop.http, r)
	}
	answer, err := send()
	if problem, no := errors.AsType[*Problem](err); !no || problem.Status != http.StatusUnauthorized {
		return answer, err
	}
	if err := c.renew(ctx); err != nil {
		return answer, err
	}
	return send()
}

// renew exchanges the refresh token, or signs in again where its successor was lost for so
// long that the session was ended.
func (c *Customer) renew(ctx context.Context) error {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.session.Refresh}}
	again, err := c.shop.enter(ctx, "/v1/tokens", form, c.email, c.password)
	if problem, no := errors.AsType[*Problem](err); no && problem.Code == "invalid_grant" {
		again, err = c.shop.SignIn(ctx, c.email, c.password)
	}
	if err != nil {
		return err
	}
	c.session = again.session
	return nil
}
