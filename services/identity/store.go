package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// one returns the row that a query finds, or nil.
func one[T any](ctx context.Context, db querier, what string, scan pgx.RowToFunc[T], sql string, args ...any) (*T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", what, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", what, err)
	}
	return &v, nil
}

// addAccount reports whether the account is new: false is that the login is taken.
func addAccount(ctx context.Context, db querier, a Account, login []byte) (bool, error) {
	tag, err := db.Exec(ctx, `
		insert into accounts (id, login, password, password_set_at, scopes, company, created_at)
		values ($1, $2, nullif($3, ''), case when $3 <> '' then $4::timestamptz end, $5, nullif($6, ''), $4)
		on conflict (login) do nothing`,
		a.ID, login, a.Password, a.CreatedAt, a.Roles.Scopes, a.Roles.Company)
	if err != nil {
		return false, fmt.Errorf("add account: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

const accountColumns = `id, coalesce(password, ''), scopes, coalesce(company, ''), created_at`

func scanAccount(row pgx.CollectableRow) (a Account, err error) {
	err = row.Scan(&a.ID, &a.Password, &a.Roles.Scopes, &a.Roles.Company, &a.CreatedAt)
	return a, err
}

// findLogin returns the account of a login, or nil.
func findLogin(ctx context.Context, db querier, login []byte) (*Account, error) {
	return one(ctx, db, "account", scanAccount, `select `+accountColumns+` from accounts where login = $1`, login)
}

// findAccount returns an account, or nil.
func findAccount(ctx context.Context, db querier, id uuid.UUID) (*Account, error) {
	return one(ctx, db, "account", scanAccount, `select `+accountColumns+` from accounts where id = $1`, id)
}

// lockAccount is findAccount for a transaction that changes the account, or must not miss
// that it changes.
func lockAccount(ctx context.Context, tx querier, id uuid.UUID) (*Account, error) {
	return one(ctx, tx, "account", scanAccount, `select `+accountColumns+` from accounts where id = $1 for no key update`, id)
}

func setPassword(ctx context.Context, tx querier, id uuid.UUID, hash string, now time.Time) error {
	_, err := tx.Exec(ctx, `update accounts set password = $2, password_set_at = $3 where id = $1`, id, hash, now)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return nil
}

// renewHash replaces a hash by one of the same password. It reports false where the account has
// another one by now.
func renewHash(ctx context.Context, db querier, id uuid.UUID, old, renewed string) (bool, error) {
	tag, err := db.Exec(ctx, `update accounts set password = $3 where id = $1 and password = $2`, id, old, renewed)
	if err != nil {
		return false, fmt.Errorf("renew password hash: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// setRoles reports whether there is such an account.
func setRoles(ctx context.Context, db querier, id uuid.UUID, r roles) (bool, error) {
	tag, err := db.Exec(ctx, `update accounts set scopes = $2, company = nullif($3, '') where id = $1`, id, r.Scopes, r.Company)
	if err != nil {
		return false, fmt.Errorf("set roles: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

func addSession(ctx context.Context, tx querier, s *Session) error {
	_, err := tx.Exec(ctx, `
		insert into sessions (id, account_id, token_hash, generation, exchanges, created_at, used_at, expires_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		s.ID, s.Account, s.Hash, s.Generation, s.Exchanges, s.CreatedAt, s.UsedAt, s.ExpiresAt)
	if err != nil {
		return fmt.Errorf("add session: %w", err)
	}
	return nil
}

// lockSession returns a session for a transaction that changes it, or nil.
func lockSession(ctx context.Context, tx querier, id uuid.UUID) (*Session, error) {
	return one(ctx, tx, "session", func(row pgx.CollectableRow) (s Session, err error) {
		err = row.Scan(&s.ID, &s.Account, &s.Hash, &s.Generation, &s.Exchanges, &s.CreatedAt, &s.UsedAt, &s.ExpiresAt, &s.RevokedAt)
		return s, err
	}, `select id, account_id, token_hash, generation, exchanges, created_at, used_at, expires_at, revoked_at
		from sessions where id = $1 for update`, id)
}

func saveSession(ctx context.Context, tx querier, s *Session) error {
	_, err := tx.Exec(ctx, `update sessions set token_hash = $2, generation = $3, exchanges = $4, used_at = $5 where id = $1`,
		s.ID, s.Hash, s.Generation, s.Exchanges, s.UsedAt)
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// listSessions returns an account's sessions that last, newest first.
func listSessions(ctx context.Context, db querier, account uuid.UUID, now time.Time, most int) ([]Session, error) {
	rows, err := db.Query(ctx, `
		select id, created_at, used_at, expires_at from sessions
		where account_id = $1 and revoked_at is null and expires_at > $2 order by created_at desc, id desc limit $3`, account, now, most)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Session, err error) {
		err = row.Scan(&s.ID, &s.CreatedAt, &s.UsedAt, &s.ExpiresAt)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return list, nil
}

// revocation says which sessions of an account are revoked: one, all but one, or all but so many that were
// used last.
type revocation struct {
	account   uuid.UUID
	only, but uuid.UUID
	keep      int
	reason    string
}

// revoke ends sessions, and says so. Another replica may have used one at a time that is later than ours, or while
// we waited for it: none ends before it was used.
func revoke(ctx context.Context, tx *outbox.Tx, r revocation) error {
	rows, err := tx.Query(ctx, `
		update sessions set revoked_at = greatest($4, used_at), revoked_for = $5
		where account_id = $1 and revoked_at is null and expires_at > $4 and ($2::uuid = '00000000-0000-0000-0000-000000000000' or id = $2) and id <> $3
			and id not in (select id from sessions where account_id = $1 and revoked_at is null and expires_at > $4 order by used_at desc, id desc limit $6)
		returning id`, r.account, r.only, r.but, tx.Now, r.reason, r.keep)
	if err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	for _, id := range ids {
		if err := tx.Emit(telemetry.TraceParent(ctx), &identity.SessionRevoked{AccountID: r.account, SessionID: id, Reason: r.reason}); err != nil {
			return err
		}
	}
	return nil
}

// Client is a program that calls as itself.
type Client struct {
	ID         uuid.UUID
	Name       string
	SecretHash []byte
	Roles      roles
	CreatedAt  time.Time
}

func addClient(ctx context.Context, db querier, c Client) error {
	_, err := db.Exec(ctx, `
		insert into clients (id, name, secret_hash, scopes, company, created_at)
		values ($1, $2, $3, $4, nullif($5, ''), $6)`,
		c.ID, c.Name, c.SecretHash, c.Roles.Scopes, c.Roles.Company, c.CreatedAt)
	if err != nil {
		return fmt.Errorf("add client: %w", err)
	}
	return nil
}

// findClient returns a client, or nil.
func findClient(ctx context.Context, db querier, id uuid.UUID) (*Client, error) {
	return one(ctx, db, "client", func(row pgx.CollectableRow) (c Client, err error) {
		err = row.Scan(&c.ID, &c.Name, &c.SecretHash, &c.Roles.Scopes, &c.Roles.Company, &c.CreatedAt)
		return c, err
	}, `select id, name, secret_hash, scopes, coalesce(company, ''), created_at from clients where id = $1`, id)
}

// deleteClient reports whether there was such a client.
func deleteClient(ctx context.Context, db querier, id uuid.UUID) (bool, error) {
	tag, err := db.Exec(ctx, `delete from clients where id = $1`, id)
	if err != nil {
		return false, fmt.Errorf("delete client: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}
