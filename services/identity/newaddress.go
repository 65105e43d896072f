package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
)

// beginNewAddress has a mail sent to the address that the account is to have. The one that
// it has is asked for, since it is kept nowhere, and must be told once the change is made.
func (s *server) beginNewAddress(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Current string `json:"current_email"`
		Email   string `json:"email"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	address, err := normalAddress(req.Email)
	if err != nil {
		return err
	}
	ctx := r.Context()
	id, err := s.justSignedIn(ctx)
	if err != nil {
		return err
	}
	old, err := s.checkAddress(ctx, id, req.Current)
	if err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perAsking, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perMailbox, address); err != nil {
		return err
	}
	if err := s.mails.ask(ctx, s.pool, asked{kind: mailNewAddress, address: address, account: &id, old: old}); err != nil {
		return err
	}
	s.mails.sweep.Wake()
	return rest.Write(w, http.StatusAccepted, struct{}{})
}

// oldPlace is what the address is sealed for that an account has until it has another.
func oldPlace(account uuid.UUID) string { return "old address of " + account.String() }

// checkAddress checks that an account has an address, and seals it. One that came by a
// provider may have none: that is said by "".
func (s *server) checkAddress(ctx context.Context, account uuid.UUID, current string) (sealed []byte, err error) {
	login, err := one(ctx, s.pool, "account", pgx.RowTo[[]byte], `select login from accounts where id = $1`, account)
	if err != nil {
		return nil, err
	}
	if login == nil {
		return nil, noAccount()
	}
	if *login == nil && current == "" {
		return nil, nil
	}
	another := fault.Field("current_email", "wrong_address", "The account's address is another.")
	address, err := normalAddress(current)
	if err != nil {
		return nil, another
	}
	sec, err := s.vault.open(ctx)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(sec.login(address), *login) {
		return nil, another
	}
	return s.mails.box.Seal(oldPlace(account), []byte(address)), nil
}

// finishNewAddress gives the account the address that a token was mailed to. The caller's
// session goes on and all others end, as with a new password.
func (s *server) finishNewAddress(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Token string `json:"token"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	ctx := r.Context()
	id, err := accountOf(ctx)
	if err != nil {
		return err
	}
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if _, err := lockAccount(ctx, tx, id); err != nil { // before the session, as a new password does
			return err
		}
		if err := checkSession(ctx, tx, id); err != nil {
			return err
		}
		if err := s.mails.useNewAddress(ctx, tx, id, req.Token); err != nil {
			return err
		}
		return revoke(ctx, tx, revocation{account: id, but: sessionOf(ctx), reason: identity.ReasonAddress})
	})
	if err != nil {
		return err
	}
	s.mails.sweep.Wake()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeNewAddress tells who has the mailbox how to go on, or that another account has the address.
func (m *mails) writeNewAddress(ctx context.Context, login []byte, d dueMail) (l letter, err error) {
	token := rand.Text()
	tag, err := m.pool.Exec(ctx, `
		insert into mailed_tokens (token_hash, account_id, login, old, expires_at)
		select $1, $2, $3, $4, now() + $5 where not exists (select from accounts where login = $3)`,
		hashOf(token), d.AccountID, login, d.Old, linkLife)
	if err != nil {
		return l, fmt.Errorf("keep the token: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return m.writeAccountExists(), nil
	}
	return letter{
		Subject: "Your new address at " + m.shop.Host,
		Text: fmt.Sprintf("Somebody, we hope it was you, wants to sign in at %s with this address from now on.\n"+
			"Open this page where you are signed in, within %d minutes:\n\n%s\n\n"+
			"If it was not you, do nothing.\n", m.shop.Host, int(linkLife.Minutes()), m.link("new-address", token)),
	}, nil
}

func (m *mails) writeOldAddress() letter {
	return letter{
		Subject: "Your account at " + m.shop.Host + " has another address",
		Text: fmt.Sprintf("The address of your account at %s was changed: from now on you sign in with the new one,\n"+
			"and all other devices were signed out.\n\nIf it was not you, write to us at once.\n", m.shop.Host),
	}
}

// useNewAddress gives an account the address that a token of its own was mailed to, and has the old one told.
func (m *mails) useNewAddress(ctx context.Context, tx *outbox.Tx, account uuid.UUID, token string) error {
	rows, err := tx.Query(ctx, `
		update accounts a set login = t.login, verified_at = now() from mailed_tokens t
		where a.id = $1 and t.account_id = a.id and t.token_hash = $2 and t.expires_at > now()
			and not exists (select from accounts other where other.login = t.login)
		returning t.old`, account, hashOf(token))
	if err != nil {
		return fmt.Errorf("change the address: %w", err)
	}
	sealed, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	if isTaken(err) || errors.Is(err, pgx.ErrNoRows) {
		return errTokenVoid()
	}
	if err != nil {
		return fmt.Errorf("change the address: %w", err)
	}
	tx.Last(`delete from mailed_tokens where account_id = $1`, account)
	if sealed == nil {
		return nil
	}
	old, err := m.box.Open(oldPlace(account), sealed)
	if err != nil {
		return fmt.Errorf("open the old address: %w", err)
	}
	return m.ask(ctx, tx, asked{kind: mailOldAddress, address: string(old), account: &account})
}

// isTaken reports that another transaction has just given the address to an account.
func isTaken(err error) bool {
	violated, ok := errors.AsType[*pgconn.PgError](err)
	return ok && violated.Code == "23505"
}
