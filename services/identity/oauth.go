package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/token"
)

const (
	// maxForm bounds what is sent for a token, in bytes.
	maxForm = 8 << 10
	// keysLife is how long others may keep the keys.
	keysLife = "public, max-age=15"
)

// tokens signs an access token of an account, for a refresh token's session.
func (s *server) tokens(ctx context.Context, a *Account, refresh refreshToken) (*tokens, error) {
	answer, err := s.accessToken(ctx, a.Roles.caller(a.ID, refresh.session))
	if err != nil {
		return nil, err
	}
	answer.RefreshToken, answer.AccountID, answer.SessionID = refresh.String(), &a.ID, &refresh.session
	return answer, nil
}

func (s *server) accessToken(ctx context.Context, c caller.Caller) (*tokens, error) {
	key, err := s.keys.signing(ctx)
	if err != nil {
		return nil, err
	}
	if c.Groups, err = groupsOf(ctx, s.pool, c.ID); err != nil {
		return nil, err
	}
	signed, err := token.Sign(key, s.issuer, c, time.Now())
	if err != nil {
		return nil, err
	}
	return &tokens{AccessToken: signed, TokenType: "Bearer", ExpiresIn: int(token.TTL.Seconds()), Scope: strings.Join(c.Scopes, " ")}, nil
}

// grant is the token endpoint of OAuth (RFC 6749): for who has a refresh token, and for
// machine clients.
func (s *server) grant(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return oauthFault(w, err)
	}
	var answer *tokens
	switch form.Get("grant_type") {
	case "refresh_token":
		answer, err = s.refresh(r.Context(), form.Get("refresh_token"))
	case "client_credentials":
		answer, err = s.clientToken(r, form)
	default:
		err = fault.Field("grant_type", "unsupported_grant_type", "grant_type is refresh_token or client_credentials.")
	}
	if err != nil {
		return oauthFault(w, err)
	}
	return rest.Write(w, http.StatusOK, answer)
}

// refresh exchanges a refresh token for its successor. Where it was exchanged long ago,
// somebody has a copy, and the session ends for both.
func (s *server) refresh(ctx context.Context, text string) (*tokens, error) {
	presented, err := parseRefreshToken(text)
	if err != nil {
		return nil, invalidGrant()
	}
	sec, err := s.vault.open(ctx)
	if err != nil {
		return nil, err
	}
	var account *Account
	var successor refreshToken
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		account = nil
		session, err := lockSession(ctx, tx, presented.session)
		if err != nil || session == nil {
			return err
		}
		var led outcome
		switch successor, led = session.exchange(presented, sec, tx.Now); led {
		case unknown:
			return nil
		case reused:
			return revoke(ctx, tx, revocation{account: session.Account, only: session.ID, reason: identity.ReasonReuse})
		case exchanged:
			if err := saveSession(ctx, tx, session); err != nil {
				return err
			}
		case repeated:
		}
		account, err = findAccount(ctx, tx, session.Account)
		return err
	})
	if err != nil {
		return nil, err
	}
	if account == nil {
		return nil, invalidGrant()
	}
	return s.tokens(ctx, account, successor)
}

func invalidGrant() error {
	return fault.New(fault.Invalid, "invalid_grant", "The refresh token is not valid, or no longer; sign in again.")
}

// clientToken is for a machine client, which authenticates by header or form.
func (s *server) clientToken(r *http.Request, form url.Values) (*tokens, error) {
	name, secret, basic := r.BasicAuth()
	if !basic {
		name, secret = form.Get("client_id"), form.Get("client_secret")
	}
	id, err := uuid.Parse(name)
	if err != nil {
		return nil, invalidClient()
	}
	c, err := findClient(r.Context(), s.pool, id)
	if err != nil {
		return nil, err
	}
	if c == nil {
		c = &Client{SecretHash: make([]byte, sha256.Size)}
	}
	if sum := sha256.Sum256([]byte(secret)); subtle.ConstantTimeCompare(sum[:], c.SecretHash) != 1 {
		return nil, invalidClient()
	}
	scopes, err := narrowed(r.Context(), c.Roles.Scopes, form.Get("scope"))
	if err != nil {
		return nil, err
	}
	c.Roles.Scopes = scopes
	return s.accessToken(r.Context(), c.Roles.caller(c.ID, uuid.Nil))
}

// narrowed returns the scopes that are asked for, or all where none are.
func narrowed(ctx context.Context, has []string, asked string) ([]string, error) {
	if asked == "" {
		return has, nil
	}
	list := strings.Fields(asked)
	for _, scope := range list {
		if !caller.Has(caller.With(ctx, caller.Caller{Scopes: has}), scope) {
			return nil, fault.Field("scope", "invalid_scope", "The client has not this scope.")
		}
	}
	return list, nil
}

func invalidClient() error {
	return fault.New(fault.Unauthorized, "invalid_client", "There is no such client, or its secret is another.")
}

// revokeToken ends the session of a refresh token (RFC 7009), for who logs out without an
// access token that is still valid. It answers the same whatever the token is.
func (s *server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if presented, err := parseRefreshToken(form.Get("token")); err == nil {
		sec, err := s.vault.open(r.Context())
		if err != nil {
			return err
		}
		err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
			session, err := lockSession(ctx, tx, presented.session)
			if err != nil || session == nil {
				return err
			}
			if _, led := session.exchange(presented, sec, tx.Now); led == unknown {
				return nil
			}
			return revoke(ctx, tx, revocation{account: session.Account, only: session.ID, reason: identity.ReasonLogout})
		})
		if err != nil {
			return err
		}
	}
	return rest.Write(w, http.StatusOK, struct{}{})
}

// readForm reads a body that OAuth has sent as a form.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/x-www-form-urlencoded" {
		return nil, fault.New(fault.Unsupported, "media_type", "Send the body as Content-Type: application/x-www-form-urlencoded.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, fault.New(fault.TooLarge, "body_too_large", "The body is larger than %d bytes.", maxForm)
		}
		return nil, fault.New(fault.Invalid, "body_malformed", "The body is not the form it should be.")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, fault.Field(name, "repeated", "A parameter is sent once.")
		}
	}
	return r.PostForm, nil
}

// oauthFault has a refusal say what it is in the words of OAuth too: clients of both kinds
// understand it.
func oauthFault(w http.ResponseWriter, err error) error {
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Kind != fault.Invalid && f.Kind != fault.Unauthorized {
		return err
	}
	if f.Kind == fault.Unauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="quadrille"`)
	}
	told := *f
	told.Members = map[string]any{"error": f.Code, "error_description": f.Message}
	return &told
}

// jwks publishes the keys that verify access tokens.
func (s *server) jwks(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.keys.load(r.Context())
	if err != nil {
		return err
	}
	return writeCached(w, keys.set)
}

// discovery says where what is, as OpenID clients expect it (OpenID Connect Discovery, RFC
// 8414). Sign-in is by password or passkey here, so there is no authorization endpoint.
func (s *server) discovery(w http.ResponseWriter, _ *http.Request) error {
	return writeCached(w, map[string]any{
		"issuer": s.issuer, "jwks_uri": s.issuer + token.JWKSPath,
		"token_endpoint": s.issuer + "/v1/tokens", "revocation_endpoint": s.issuer + "/v1/tokens/revoke",
		"grant_types_supported": []string{"refresh_token", "client_credentials"}, "response_types_supported": []string{},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "none"},
		"subject_types_supported":               []string{"public"}, "id_token_signing_alg_values_supported": []string{"EdDSA"},
		"scopes_supported": []string{caller.ScopeOperator, caller.ScopeApprover, caller.ScopePrices},
		"claims_supported": []string{"iss", "aud", "sub", "sid", "iat", "exp", "groups", "scope", "company"},
	})
}

func writeCached(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", keysLife)
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n')) // a client that went away needs no answer
	return nil
}
