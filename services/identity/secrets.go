package identity

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/seal"
)

// secrets are keys for different uses, all of one random root that the database holds
// sealed: who reads a copy of the database can neither use a session nor try out addresses.
type secrets struct {
	logins, tokens, attempts []byte
}

func newSecrets(root []byte) *secrets {
	key := func(use string) []byte {
		key, err := hkdf.Key(sha256.New, root, nil, "quadrille identity: "+use, sha256.Size)
		if err != nil {
			panic(err) // only where thousands of bytes are wanted
		}
		return key
	}
	return &secrets{logins: key("logins"), tokens: key("refresh tokens"), attempts: key("attempts")}
}

// rootName is the place that the root is sealed for.
const rootName = "root of identity's secrets"

// vault has the secrets. The first replica that needs them makes them up.
type vault struct {
	pool *pgxpool.Pool
	box  *seal.Box
	kept atomic.Pointer[secrets]
}

func (v *vault) open(ctx context.Context) (*secrets, error) {
	if kept := v.kept.Load(); kept != nil {
		return kept, nil
	}
	// The second statement sees what another replica was faster to insert.
	_, err := v.pool.Exec(ctx, `insert into secrets (name, sealed) values ($1, $2) on conflict (name) do nothing`,
		rootName, v.box.Seal(rootName, randomBytes(secretSize)))
	if err != nil {
		return nil, fmt.Errorf("make secrets: %w", err)
	}
	sealed, err := one(ctx, v.pool, "secrets", pgx.RowTo[[]byte], `select sealed from secrets where name = $1`, rootName)
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		return nil, errors.New("the secrets are gone from their table")
	}
	root, err := v.box.Open(rootName, *sealed)
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	kept := newSecrets(root)
	v.kept.Store(kept)
	return kept, nil
}

// login returns what an account is found by. It does not tell the address.
func (s *secrets) login(address string) []byte { return mac(s.logins, address) }

// attempt returns the key under which tries are counted.
func (s *secrets) attempt(kind, of string) []byte { return mac(s.attempts, kind+" "+of) }

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}
