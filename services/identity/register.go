package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
)

// register has a mail sent, and answers the same, after the same work, whether or not the
// address has an account: who has the mailbox learns that, and nobody else.
func (s *server) register(w http.ResponseWriter, r *http.Request) error {
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
	if err := s.limits.take(ctx, w, perNewcome, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	if err := s.limits.take(ctx, w, perMailbox, address); err != nil {
		return err
	}
	if err := s.mails.ask(ctx, s.pool, asked{kind: mailRegistration, address: address}); err != nil {
		return err
	}
	s.mails.sweep.Wake()
	return rest.Write(w, http.StatusAccepted, struct{}{})
}

// confirm makes the account that a token was mailed for, and signs in to it. Its password is
// given here and not before: nobody can register another's address with a password of his own and wait.
func (s *server) confirm(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Token    string `json:"token"`
		Password string `json:"password"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkPassword("password", req.Password); err != nil {
		return err
	}
	ctx := r.Context()
	if err := s.limits.take(ctx, w, perStart, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	if err := s.mails.serves(ctx, req.Token); err != nil { // before the password is hashed
		return err
	}
	hash, err := s.hasher.hash(ctx, req.Password)
	if err != nil {
		return err
	}
	a := &Account{Password: hash, Roles: roles{Scopes: []string{}}}
	if a.ID, err = uuid.NewV7(); err != nil {
		return err
	}
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		a.CreatedAt = tx.Now
		return s.mails.useRegistration(ctx, tx, req.Token, a)
	})
	if err != nil {
		return err
	}
	answer, err := s.open(ctx, a)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, answer)
}

// writeRegistration tells the owner of the mailbox how to go on, or that there is nothing
// to register.
func (m *mails) writeRegistration(ctx context.Context, login []byte) (l letter, err error) {
	token := rand.Text()
	tag, err := m.pool.Exec(ctx, `
		insert into mailed_tokens (token_hash, login, expires_at)
		select $1, $2, now() + $3 where not exists (select from accounts where login = $2)`, hashOf(token), login, linkLife)
	if err != nil {
		return l, fmt.Errorf("keep the token: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return m.writeAccountExists(), nil
	}
	return letter{
		Subject: "Your account at " + m.shop.Host,
		Text: fmt.Sprintf("Somebody, we hope it was you, wants an account at %s with this address.\n"+
			"Choose a password on this page, within %d minutes:\n\n%s\n\n"+
			"If it was not you, do nothing: there will be no account.\n", m.shop.Host, int(linkLife.Minutes()), m.link("welcome", token)),
	}, nil
}

// writeAccountExists is for who wants an account, or an account's address, that there is already.
func (m *mails) writeAccountExists() letter {
	return letter{
		Subject: "You have an account at " + m.shop.Host,
		Text: fmt.Sprintf("Somebody, we hope it was you, wants to use this address for an account at %s.\n"+
			"It has one already: sign in with it, or ask for a new password there.\n\n"+
			"If it was not you, do nothing: your account stays as it is.\n", m.shop.Host),
	}
}

// serves reports whether the token of a registration does.
func (m *mails) serves(ctx context.Context, token string) error {
	var serves bool
	err := m.pool.QueryRow(ctx, `
		select exists (select from mailed_tokens where token_hash = $1 and account_id is null and expires_at > now())`, hashOf(token)).Scan(&serves)
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	if !serves {
		return errTokenVoid()
	}
	return nil
}

// useRegistration makes the account that a token was mailed for. Of two tokens of one
// address the first makes the account.
func (m *mails) useRegistration(ctx context.Context, tx *outbox.Tx, token string, a *Account) error {
	rows, err := tx.Query(ctx, `
		select login from mailed_tokens where token_hash = $1 and account_id is null and expires_at > now() for update`, hashOf(token))
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	login, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	if errors.Is(err, pgx.ErrNoRows) {
		return errTokenVoid()
	}
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	added, err := addAccount(ctx, tx, *a, login)
	if err != nil {
		return err
	}
	if !added {
		return errTokenVoid()
	}
	tx.Last(`delete from mailed_tokens where login = $1`, login)
	return verified(ctx, tx, a.ID)
}
