package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
)

// ceremonyLife is how long a sign-in or a registration that takes two requests may take.
const ceremonyLife = 10 * time.Minute

// A purpose says what a ceremony may be used for, and nothing else.
type purpose string

const (
	openIDSignIn    purpose = "openid_sign_in"
	openIDLink      purpose = "openid_link"
	passkeySignIn   purpose = "passkey_sign_in"
	passkeyAddition purpose = "passkey_addition"
)

// ceremonies keep what the second request of a sign-in must match. Who began one has its
// secret, of which the table has the hash; it serves once, and not for long.
type ceremonies struct{ pool *pgxpool.Pool }

// begun is what the client needs for its second request.
type begun struct {
	Secret    string    `json:"ceremony"`
	ExpiresAt time.Time `json:"expires_at"`
}

// begin keeps data. account is whose ceremony it is, or nil before anybody is known.
func (c *ceremonies) begin(ctx context.Context, p purpose, account *uuid.UUID, data any) (begun, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return begun{}, fmt.Errorf("encode the ceremony: %w", err)
	}
	b := begun{Secret: rand.Text()}
	err = c.pool.QueryRow(ctx, `
		insert into ceremonies (secret_hash, purpose, account_id, data, expires_at)
		values ($1, $2, $3, $4, now() + $5)
		returning expires_at`, hashOf(b.Secret), p, account, text, ceremonyLife).Scan(&b.ExpiresAt)
	if err != nil {
		return begun{}, fmt.Errorf("keep the ceremony: %w", err)
	}
	return b, nil
}

// take reads data into v, once. Whatever comes of it, the ceremony is over.
func (c *ceremonies) take(ctx context.Context, p purpose, account *uuid.UUID, secret string, v any) error {
	var text []byte
	var late bool
	err := c.pool.QueryRow(ctx, `
		delete from ceremonies
		where secret_hash = $1 and purpose = $2 and account_id is not distinct from $3
		returning data, expires_at <= now()`, hashOf(secret), p, account).Scan(&text, &late)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && late:
		return fault.New(fault.Conflict, "ceremony_over", "This was used, has expired, or was begun by somebody else; begin again.")
	case err != nil:
		return fmt.Errorf("take the ceremony: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode the ceremony: %w", err)
	}
	return nil
}

// prune deletes what expired, at most a batch.
func (c *ceremonies) prune(ctx context.Context) (more bool, err error) {
	const most = 1000
	tag, err := c.pool.Exec(ctx, `
		delete from ceremonies where secret_hash in
		(select secret_hash from ceremonies where expires_at <= now() order by expires_at limit $1 for update skip locked)`, most)
	if err != nil {
		return false, fmt.Errorf("delete ceremonies that expired: %w", err)
	}
	return tag.RowsAffected() == most, nil
}

// hashOf a secret of full entropy, which needs no salt.
func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
