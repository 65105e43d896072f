package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
)

// writeReset writes nothing where there is no account. Each attempt to send has a token of
// its own, since the hash of an earlier one is all that is left of it.
func (m *mails) writeReset(ctx context.Context, login []byte) (l letter, err error) {
	token := rand.Text()
	tag, err := m.pool.Exec(ctx, `
		insert into reset_tokens (token_hash, account_id, login, expires_at)
		select $1, id, login, now() + $3 from accounts where login = $2`, hashOf(token), login, linkLife)
	if err != nil {
		return l, fmt.Errorf("keep the token: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return l, nil // nobody is told
	}
	return letter{
		Subject: "Your new password at " + m.shop.Host,
		Text: fmt.Sprintf("Somebody, we hope it was you, asked for a new password at %s.\n"+
			"Set it on this page, within %d minutes:\n\n%s\n\n"+
			"If it was not you, do nothing: your password stays as it is.\n", m.shop.Host, int(linkLife.Minutes()), m.link("new-password", token)),
	}, nil
}

// check reports whether a token serves, before the new password is hashed.
func (m *mails) check(ctx context.Context, token string) error {
	var serves bool
	err := m.pool.QueryRow(ctx, `
		select exists (select from reset_tokens t join accounts a on a.id = t.account_id and a.login = t.login
		where t.token_hash = $1 and t.expires_at > now())`, hashOf(token)).Scan(&serves)
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	if !serves {
		return errTokenVoid()
	}
	return nil
}

// use sets the password of the account that a token was mailed to, voids all its tokens and
// ends its sessions.
//
// Who has the mailbox is the owner. Until the first such proof anybody may have registered
// the address, and waited for its owner with a passkey or a linked provider: those go.
func (m *mails) use(ctx context.Context, tx *outbox.Tx, token, hash string) error {
	rows, err := tx.Query(ctx, `
		select a.id, a.verified_at is not null
		from reset_tokens t join accounts a on a.id = t.account_id and a.login = t.login
		where t.token_hash = $1 and t.expires_at > now()
		for update`, hashOf(token))
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	type owner struct {
		ID       uuid.UUID
		Verified bool
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[owner])
	if errors.Is(err, pgx.ErrNoRows) {
		return errTokenVoid()
	}
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	if err := replacePassword(ctx, tx, found.ID, hash, uuid.Nil); err != nil {
		return err
	}
	tx.Last(`delete from reset_tokens where account_id = $1`, found.ID)
	if !found.Verified {
		tx.Last(`delete from passkeys where account_id = $1`, found.ID)
		tx.Last(`delete from openid_links where account_id = $1`, found.ID)
	}
	return verified(ctx, tx, found.ID)
}

func errTokenVoid() error {
	return fault.New(fault.Conflict, "token_void", "This link was used, has expired, or is not the account's any more; ask for another.")
}
