package identity

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
)

// maxSessions is how many sessions an account has, and how many are listed. It is far more than the devices of
// a person, and few enough to look through at each sign-in.
const maxSessions = 100

type server struct {
	settings
	waysIn
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	api    rest.API
	vault  *vault
	hasher *hasher
	limits *limiter
	keys   *keyring
	forget *erasure.Holder
	reseal *resealer
	log    *slog.Logger
}

// openRoutes are for who is not signed in yet, or no more.
func (s *server) openRoutes(r chi.Router) {
	r.Post("/v1/accounts", s.api.Handle(s.register))
	r.Post("/v1/accounts/confirm", s.api.Handle(s.confirm))
	r.Post("/v1/sessions", s.api.Handle(s.login))
	r.Post("/v1/tokens", s.api.Handle(s.grant))
	r.Post("/v1/tokens/revoke", s.api.Handle(s.revokeToken))
	r.Get("/.well-known/jwks.json", s.api.Handle(s.jwks))
	r.Get("/.well-known/openid-configuration", s.api.Handle(s.discovery))
	s.waysInOpenRoutes(r)
}

func (s *server) routes(r chi.Router) {
	r.Get("/v1/accounts/me", s.api.Handle(s.me))
	r.Put("/v1/accounts/me/password", s.api.Handle(s.changePassword))
	r.Post("/v1/accounts/me/address/begin", s.api.Handle(s.beginNewAddress))
	r.Post("/v1/accounts/me/address/finish", s.api.Handle(s.finishNewAddress))
	r.Get("/v1/sessions", s.api.Handle(s.list))
	r.Delete("/v1/sessions", s.api.Handle(s.logoutEverywhere))
	r.Delete("/v1/sessions/{id}", s.api.Handle(s.logout))
	s.waysInRoutes(r)
}

// credentials are what somebody signs in with.
type credentials struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// tokens are the answer to who signed in, in the words of OAuth (RFC 6749).
type tokens struct {
	AccessToken  string     `json:"access_token"`
	TokenType    string     `json:"token_type"`
	ExpiresIn    int        `json:"expires_in"` // seconds
	RefreshToken string     `json:"refresh_token,omitempty"`
	Scope        string     `json:"scope"`
	AccountID    *uuid.UUID `json:"account_id,omitempty"`
	SessionID    *uuid.UUID `json:"session_id,omitempty"`
}

// addAccount reports whether the account is new.
func (s *server) addAccount(ctx context.Context, address, password string, r roles) (id uuid.UUID, added bool, err error) {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return id, false, err
	}
	if id, err = uuid.NewV7(); err != nil {
		return id, false, err
	}
	sec, err := s.vault.open(ctx)
	if err != nil {
		return id, false, err
	}
	a := Account{ID: id, Password: hash, Roles: r, CreatedAt: time.Now().UTC()}
	added, err = addAccount(ctx, s.pool, a, sec.login(address))
	return id, added, err
}

// login answers a wrong password and an account that does not exist with the same words,
// after the same work.
func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	var req credentials
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	address, err := normalAddress(req.Email)
	if err != nil {
		return err
	}
	if len(req.Password) > maxPassword {
		return wrongCredentials()
	}
	ctx, from := r.Context(), addressOf(r, s.forwarded)
	if err := s.limits.take(ctx, w, perAddress, from); err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perAccount, address); err != nil {
		return err
	}
	account, err := s.checkLogin(ctx, address, req.Password)
	if err != nil {
		if fault.Of(err).Kind != fault.Unauthorized {
			s.limits.undo(ctx, address, from)
		}
		return err
	}
	if err := s.limits.giveBack(ctx, address, from); err != nil {
		return err
	}
	answer, err := s.open(ctx, account)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, answer)
}

// checkLogin returns the account of an address and its password.
func (s *server) checkLogin(ctx context.Context, address, password string) (*Account, error) {
	sec, err := s.vault.open(ctx)
	if err != nil {
		return nil, err
	}
	account, err := findLogin(ctx, s.pool, sec.login(address))
	if err != nil {
		return nil, err
	}
	if account == nil {
		account = &Account{} // and its password is checked all the same
	}
	right, stale, err := s.hasher.check(ctx, account.Password, password)
	switch {
	case err != nil:
		return nil, err
	case !right:
		return nil, wrongCredentials()
	case !stale:
		return account, nil
	}
	switch replaced, err := s.rehash(ctx, account, password); {
	case err != nil: // the next sign-in does it
		s.log.WarnContext(ctx, "a password's hash has the cost of before", "account_id", account.ID, "err", err)
		return account, nil
	case !replaced: // another device was faster, or changed the password
		return s.checkLogin(ctx, address, password)
	default:
		return account, nil
	}
}

// rehash replaces the hash of a password by one of the cost of now. It reports false where the
// account has another hash by now.
func (s *server) rehash(ctx context.Context, account *Account, password string) (replaced bool, err error) {
	renewed, err := s.hasher.hash(ctx, password)
	if err != nil {
		return false, err
	}
	if replaced, err = renewHash(ctx, s.pool, account.ID, account.Password, renewed); replaced {
		account.Password = renewed
	}
	return replaced, err
}

func wrongCredentials() error {
	return fault.New(fault.Unauthorized, "credentials", "The e-mail address or the password is wrong.")
}

// open begins a session of an account as it was read: where its password was changed
// meanwhile, the sign-in was with the old one, and is refused. Where there would be more than
// maxSessions, the one that was used longest ago ends. The account is locked, so that sign-ins at
// once see each other's sessions.
func (s *server) open(ctx context.Context, account *Account) (*tokens, error) {
	var session *Session
	var first refreshToken
	err := s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		now, err := lockAccount(ctx, tx, account.ID)
		if err != nil {
			return err
		}
		if now == nil || now.Password != account.Password {
			return wrongCredentials()
		}
		account = now
		if err := revoke(ctx, tx, revocation{account: account.ID, keep: maxSessions - 1, reason: identity.ReasonTooMany}); err != nil {
			return err
		}
		if session, first, err = newSession(account.ID, tx.Now, s.sessionLife); err != nil {
			return err
		}
		return addSession(ctx, tx, session)
	})
	if err != nil {
		return nil, err
	}
	return s.tokens(ctx, account, first)
}

// me tells a caller about his account.
func (s *server) me(w http.ResponseWriter, r *http.Request) error {
	id, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	return s.answerAccount(w, r, id)
}

func (s *server) answerAccount(w http.ResponseWriter, r *http.Request, id uuid.UUID) error {
	a, err := findAccount(r.Context(), s.pool, id)
	if err != nil {
		return err
	}
	if a == nil {
		return noAccount()
	}
	groups, err := groupsOf(r.Context(), s.pool, id.String())
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, struct {
		ID     uuid.UUID `json:"id"`
		Groups []string  `json:"groups"`
		roles
		HasPassword bool      `json:"has_password"`
		CreatedAt   time.Time `json:"created_at"`
	}{a.ID, append([]string{}, groups...), a.Roles, a.Password != "", a.CreatedAt})
}

func noAccount() error {
	return fault.New(fault.NotFound, "account_not_found", "There is no such account.")
}

// accountOf returns the caller's account. A machine client has none.
func accountOf(ctx context.Context) (uuid.UUID, error) {
	c, _ := caller.From(ctx)
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return id, noAccount()
	}
	return id, nil
}

// sessionOf returns the caller's session, or none.
func sessionOf(ctx context.Context) uuid.UUID {
	c, _ := caller.From(ctx)
	id, err := uuid.Parse(c.Session)
	if err != nil {
		return uuid.Nil
	}
	return id
}

// changePassword ends all other sessions: who knew the old password may have opened them.
func (s *server) changePassword(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Current string `json:"current_password"`
		New     string `json:"new_password"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkPassword("new_password", req.New); err != nil {
		return err
	}
	ctx := r.Context()
	id, err := accountOf(ctx)
	if err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perAccount, id.String()); err != nil {
		return err
	}
	account, err := findAccount(ctx, s.pool, id)
	if err != nil {
		return err
	}
	if account == nil {
		return noAccount()
	}
	right, _, err := s.hasher.check(ctx, account.Password, req.Current)
	if err != nil {
		s.limits.undo(ctx, id.String(), "")
		return err
	}
	if !right {
		return fault.Field("current_password", "wrong_password", "The current password is another.")
	}
	if err := s.limits.giveBack(ctx, id.String(), ""); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, req.New)
	if err != nil {
		return err
	}
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		now, err := lockAccount(ctx, tx, id)
		if err != nil {
			return err
		}
		if now == nil || now.Password != account.Password {
			return fault.New(fault.Conflict, "password_changed", "The password was changed meanwhile.")
		}
		return replacePassword(ctx, tx, id, hash, sessionOf(ctx))
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// replacePassword sets a password and ends all sessions but one.
func replacePassword(ctx context.Context, tx *outbox.Tx, account uuid.UUID, hash string, but uuid.UUID) error {
	if err := setPassword(ctx, tx, account, hash, tx.Now); err != nil {
		return err
	}
	return revoke(ctx, tx, revocation{account: account, but: but, reason: identity.ReasonPassword})
}

type sessionView struct {
	ID        uuid.UUID `json:"id"`
	Current   bool      `json:"current"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := accountOf(ctx)
	if err != nil {
		return err
	}
	found, err := listSessions(ctx, s.pool, id, time.Now(), maxSessions)
	if err != nil {
		return err
	}
	answer := struct {
		Sessions []sessionView `json:"sessions"`
	}{make([]sessionView, len(found))}
	for i, f := range found {
		answer.Sessions[i] = sessionView{f.ID, f.ID == sessionOf(ctx), f.CreatedAt, f.UsedAt, f.ExpiresAt}
	}
	return rest.Write(w, http.StatusOK, answer)
}

// logout ends one of the caller's sessions. One of somebody else's is not even admitted to
// exist, and one that has ended is no error.
func (s *server) logout(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "A session id is a UUID.")
	if err != nil {
		return err
	}
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	return s.end(w, r, revocation{account: account, only: id, reason: identity.ReasonLogout})
}

func (s *server) logoutEverywhere(w http.ResponseWriter, r *http.Request) error {
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	return s.end(w, r, revocation{account: account, reason: identity.ReasonLogout})
}

func (s *server) end(w http.ResponseWriter, r *http.Request, which revocation) error {
	err := s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		return revoke(ctx, tx, which)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
