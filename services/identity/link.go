package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
)

// link says that a person at a provider is the owner of an account.
type link struct {
	ID              uuid.UUID
	Provider        string
	Issuer, Subject string
	CreatedAt       time.Time
}

// links are those of all accounts. An account is found by issuer and subject, never by an
// address: addresses change hands, and some providers let people enter any.
type links struct{ vault *vault }

func (l *links) list(ctx context.Context, db querier, account uuid.UUID) ([]link, error) {
	rows, err := db.Query(ctx, `
		select id, provider, issuer, subject, created_at
		from openid_links where account_id = $1 order by created_at, id`, account)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[link])
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return list, nil
}

// loginOf returns what the account of a person's address is found by, or nil where the
// provider has not verified it: that address may be anybody's.
func (l *links) loginOf(ctx context.Context, who person) ([]byte, error) {
	if who.Email == "" {
		return nil, nil
	}
	address, err := normalAddress(who.Email)
	if err != nil {
		return nil, errSignInRefused(err)
	}
	sec, err := l.vault.open(ctx)
	if err != nil {
		return nil, err
	}
	return sec.login(address), nil
}

// accountOf returns the account that a person is the owner of, and makes one where there is
// none, with this login. An address that the provider has verified and another account has is refused: its
// owner signs in there, and links the two.
func (l *links) accountOf(ctx context.Context, tx *outbox.Tx, provider string, who person, login []byte) (account uuid.UUID, err error) {
	rows, err := tx.Query(ctx, `select account_id from openid_links where issuer = $1 and subject = $2`, who.Issuer, who.Subject)
	if err != nil {
		return uuid.Nil, fmt.Errorf("look up the link: %w", err)
	}
	account, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[uuid.UUID])
	if !errors.Is(err, pgx.ErrNoRows) {
		return account, err
	}
	if account, err = uuid.NewV7(); err != nil {
		return uuid.Nil, err
	}
	a := Account{ID: account, Roles: roles{Scopes: []string{}}, CreatedAt: tx.Now}
	fresh, err := addAccount(ctx, tx, a, login)
	if err != nil {
		return uuid.Nil, err
	}
	if !fresh {
		return uuid.Nil, fault.New(fault.Conflict, "account_exists",
			"There is an account with this address already: sign in to it, and link %s there.", provider)
	}
	if login != nil {
		if err := verified(ctx, tx, account); err != nil {
			return uuid.Nil, err
		}
	}
	return account, l.add(ctx, tx, account, provider, who)
}

// add makes a person the owner of an account. It changes nothing where that is so already.
func (l *links) add(ctx context.Context, tx *outbox.Tx, account uuid.UUID, provider string, who person) error {
	rows, err := tx.Query(ctx, `
		insert into openid_links (id, account_id, provider, issuer, subject)
		values ($1, $2, $3, $4, $5)
		on conflict (issuer, subject) do update set provider = excluded.provider
		returning account_id`, uuid.New(), account, provider, who.Issuer, who.Subject)
	if err != nil {
		return fmt.Errorf("keep the link: %w", err)
	}
	owner, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("keep the link: %w", err)
	}
	if owner != account {
		return fault.New(fault.Conflict, "link_taken", "This person at %s has another account here.", provider)
	}
	return nil
}

// verified notes that the account's address is known to be its owner's.
func verified(ctx context.Context, tx *outbox.Tx, account uuid.UUID) error {
	if _, err := tx.Exec(ctx, `update accounts set verified_at = coalesce(verified_at, $2) where id = $1`, account, tx.Now); err != nil {
		return fmt.Errorf("note that the address is verified: %w", err)
	}
	return nil
}
