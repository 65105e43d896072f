package identity

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
)

// recently is how long ago somebody may have signed in who changes how to sign in.
const recently = 5 * time.Minute

// What a stranger may begin: each makes a row.
var (
	perStart   = limit{"sign-in begun from", 100, 15 * time.Minute}
	perMailbox = limit{"mail to", 5, time.Hour}
	perAsking  = limit{"mail asked for from", 50, time.Hour}
)

const shopSetting = "QUADRILLE_SHOP_URL"

// waysIn are the ways to sign in beside the password, and the mails that prove a mailbox.
type waysIn struct {
	parties  []*relyingParty
	kept     *ceremonies
	links    *links
	passkeys *passkeys
	mails    *mails
}

func newWaysIn(kit *service.Kit, safe *vault, box *seal.Box) waysIn {
	r := kit.Config
	shop := r.About("where the shop's pages are: passkeys are made for them, and mails lead to them").URL(shopSetting, "http://localhost:18280")
	page, err := url.Parse(shop)
	if err != nil || page.Hostname() == "" {
		page = &url.URL{Scheme: "http", Host: "localhost"} // the reader has noted the fault
	}
	kept := &ceremonies{pool: kit.Pool}
	rules, err := newWebAuthn(page)
	if err != nil {
		r.Fault(shopSetting, err)
	}
	return waysIn{
		parties:  readOpenIDProviders(r, page.JoinPath("signed-in").String()),
		kept:     kept,
		links:    &links{vault: safe},
		passkeys: &passkeys{pool: kit.Pool, rules: rules, kept: kept, log: kit.Log},
		mails:    newMails(&mails{pool: kit.Pool, vault: safe, box: box, sender: readSender(r), shop: page, log: kit.Log}),
	}
}

func (s *server) waysInOpenRoutes(r chi.Router) {
	r.Get("/v1/sessions/openid/providers", s.api.Handle(s.listProviders))
	r.Post("/v1/sessions/openid/begin", s.api.Handle(s.beginOpenID))
	r.Post("/v1/sessions/openid/finish", s.api.Handle(s.finishOpenID))
	r.Post("/v1/sessions/passkey/begin", s.api.Handle(s.beginPasskey))
	r.Post("/v1/sessions/passkey/finish", s.api.Handle(s.finishPasskey))
	r.Post("/v1/accounts/reset/begin", s.api.Handle(s.beginReset))
	r.Post("/v1/accounts/reset/finish", s.api.Handle(s.finishReset))
}

func (s *server) waysInRoutes(r chi.Router) {
	r.Post("/v1/accounts/me/openid/begin", s.api.Handle(s.beginLink))
	r.Post("/v1/accounts/me/openid/finish", s.api.Handle(s.finishLink))
	r.Get("/v1/accounts/me/links", s.api.Handle(s.listLinks))
	r.Delete("/v1/accounts/me/links/{id}", s.api.Handle(s.remove(linkRemoval)))
	r.Post("/v1/accounts/me/passkey/begin", s.api.Handle(s.beginAddition))
	r.Post("/v1/accounts/me/passkey/finish", s.api.Handle(s.finishAddition))
	r.Get("/v1/accounts/me/passkeys", s.api.Handle(s.listPasskeys))
	r.Delete("/v1/accounts/me/passkeys/{id}", s.api.Handle(s.remove(passkeyRemoval)))
}

// justSignedIn returns the account of a caller who has signed in a moment ago. Who has
// merely found a browser open must not add a way in of his own.
func (s *server) justSignedIn(ctx context.Context) (uuid.UUID, error) {
	id, err := accountOf(ctx)
	if err != nil {
		return id, err
	}
	var just bool
	err = s.pool.QueryRow(ctx, `
		select exists (select from sessions where id = $1 and account_id = $2 and created_at > now() - $3::interval and revoked_at is null)`,
		sessionOf(ctx), id, recently).Scan(&just)
	if err != nil {
		return id, fmt.Errorf("look up when the caller signed in: %w", err)
	}
	if !just {
		return id, fault.New(fault.Forbidden, "sign_in_again", "Sign in again first: the last time is more than %d minutes ago.", int(recently.Minutes()))
	}
	return id, nil
}

// checkSession refuses a caller whose session has ended. His access token is valid for minutes
// more: in these he must not finish what would let him in for good. The session lasts at least
// until the transaction has ended.
func checkSession(ctx context.Context, tx querier, account uuid.UUID) error {
	lasting, err := one(ctx, tx, "session", pgx.RowTo[uuid.UUID], `
		select id from sessions where id = $1 and account_id = $2 and revoked_at is null and expires_at > now() for share`, sessionOf(ctx), account)
	if err != nil {
		return err
	}
	if lasting == nil {
		return fault.New(fault.Unauthorized, "session_ended", "This session has ended; sign in again.")
	}
	return nil
}

// enter begins a session of somebody who has shown who he is.
func (s *server) enter(w http.ResponseWriter, r *http.Request, id uuid.UUID) error {
	account, err := findAccount(r.Context(), s.pool, id)
	if err != nil {
		return err
	}
	if account == nil {
		return noAccount()
	}
	answer, err := s.open(r.Context(), account)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, answer)
}

// removal deletes a way in by its id and account.
type removal struct {
	hint, sql string
	missing   error
}

var (
	linkRemoval = removal{
		"A link's id is a UUID.", `delete from openid_links where id = $1 and account_id = $2`,
		fault.New(fault.NotFound, "link_not_found", "The account has no such link."),
	}
	passkeyRemoval = removal{
		"A passkey's id is a UUID.", `delete from passkeys where id = $1 and account_id = $2`,
		fault.New(fault.NotFound, "passkey_not_found", "The account has no such passkey."),
	}
)

// remove deletes a way in of the caller, unless it is the last one.
func (s *server) remove(what removal) rest.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := rest.PathID(r, what.hint)
		if err != nil {
			return err
		}
		owner, err := s.justSignedIn(r.Context())
		if err != nil {
			return err
		}
		err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
			account, err := lockAccount(ctx, tx, owner)
			if err != nil {
				return err
			}
			if account == nil {
				return noAccount()
			}
			tag, err := tx.Exec(ctx, what.sql, id, owner)
			if err != nil {
				return fmt.Errorf("remove a way to sign in: %w", err)
			}
			if tag.RowsAffected() == 0 {
				return what.missing
			}
			return s.checkWayLeft(ctx, tx, account)
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (s *server) checkWayLeft(ctx context.Context, tx *outbox.Tx, account *Account) error {
	if account.Password != "" {
		return nil
	}
	rows, err := tx.Query(ctx, `
		select exists (select from passkeys where account_id = $1) or exists (select from openid_links where account_id = $1)`, account.ID)
	if err != nil {
		return fmt.Errorf("look for another way to sign in: %w", err)
	}
	left, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	if err != nil {
		return fmt.Errorf("look for another way to sign in: %w", err)
	}
	if !left {
		return fault.New(fault.Conflict, "last_way_in", "This is the only way to sign in to the account; add another first.")
	}
	return nil
}

// beginReset answers the same, at the same expense, whether or not there is an account.
func (s *server) beginReset(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Email string `json:"email"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	address, err := normalAddress(req.Email)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if err := s.limits.take(ctx, w, perAsking, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perMailbox, address); err != nil {
		return err
	}
	if err := s.mails.ask(ctx, s.pool, asked{kind: mailReset, address: address}); err != nil {
		return err
	}
	s.mails.sweep.Wake()
	return rest.Write(w, http.StatusAccepted, struct{}{})
}

// finishReset sets the password by a token that was mailed. It signs nobody in.
func (s *server) finishReset(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Token string `json:"token"`
		New   string `json:"new_password"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkPassword("new_password", req.New); err != nil {
		return err
	}
	ctx := r.Context()
	if err := s.limits.take(ctx, w, perStart, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	if err := s.mails.check(ctx, req.Token); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, req.New)
	if err != nil {
		return err
	}
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error { return s.mails.use(ctx, tx, req.Token, hash) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
