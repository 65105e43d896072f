package price

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/sweep"
)

const (
	// Verifiers ask for the keys once a minute at least. A key is made, and published, this
	// much before it signs.
	publishAhead = 10 * time.Minute
	// keySkew is how much the clocks of price and those who verify may differ.
	keySkew = time.Minute

	keysEvery   = 10 * time.Second
	keysTimeout = 5 * time.Second

	// keysBefore bounds the keys that are read before the last one.
	keysBefore = 100
)

// leastPeriod is how long a key signs at least, in whole seconds. In a shorter time there would be more keys than are
// read, of those that sign in the next ten minutes and those whose quotes are still valid: the oldest would be lost, and
// their quotes with them.
func leastPeriod(validity time.Duration) time.Duration {
	const second = time.Second
	return ((publishAhead+validity+2*keySkew)/(keysBefore-1) + second - 1).Truncate(second)
}

// signingKey is a key as the table has it. Its life is in its times, which never change:
// next before signsFrom, current before signsUntil, retiring before goodUntil, and retired
// from then on. So all replicas agree without telling one another.
type signingKey struct {
	generation            int64
	id                    string
	sealed                []byte
	signsFrom, signsUntil time.Time
	goodUntil             time.Time

	private ed25519.PrivateKey
}

// keyring has the keys that are not retired.
type keyring struct {
	pool *pgxpool.Pool
	box  *seal.Box
	// period is how long a key signs, and validity how long a quote is valid.
	period, validity time.Duration
	now              func() time.Time
	log              *slog.Logger

	mu   sync.Mutex
	keys []signingKey // by generation
}

var errNoKey = errors.New("there is no key that signs now")

// run makes keys before they are needed.
func (k *keyring) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "signing keys", Every: keysEvery, Timeout: keysTimeout, Log: k.log},
		func(ctx context.Context) (bool, error) { return false, k.refresh(ctx) }).Run(ctx)
}

// refresh makes the keys that are missing, and reads all that are not retired.
func (k *keyring) refresh(ctx context.Context) error {
	for {
		keys, err := k.read(ctx)
		if err != nil {
			return err
		}
		now := k.now()
		var last signingKey
		if len(keys) > 0 {
			last = keys[len(keys)-1]
		}
		if last.signsUntil.After(now.Add(publishAhead)) {
			k.mu.Lock()
			k.keys = keys
			k.mu.Unlock()
			return nil
		}
		from := last.signsUntil
		if soon := now.Add(-keySkew); from.Before(soon) { // nobody was there to make the next one
			from = soon
		}
		if err := k.add(ctx, last.generation+1, from); err != nil {
			return err
		}
	}
}

// add makes the key of a generation. Where another replica was faster, its key counts.
func (k *keyring) add(ctx context.Context, generation int64, from time.Time) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	id := hex.EncodeToString(raw[:])
	until := from.Add(k.period)
	if _, err := k.pool.Exec(ctx, `
		insert into signing_keys (generation, id, sealed, signs_from, signs_until, good_until)
		values ($1, $2, $3, $4, $5, $6) on conflict (generation) do nothing`,
		generation, id, k.box.Seal(keyPlace(id), private.Seed()), from, until, until.Add(k.validity+keySkew)); err != nil {
		return fmt.Errorf("add a signing key: %w", err)
	}
	return nil
}

func keyPlace(id string) string { return "signing key " + id }

func (k *keyring) read(ctx context.Context) ([]signingKey, error) {
	rows, err := k.pool.Query(ctx, `
		select generation, id, sealed, signs_from, signs_until, good_until from signing_keys
		where generation >= (select coalesce(max(generation), 0) from signing_keys) - $1 order by generation`, keysBefore)
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s signingKey, err error) {
		return s, row.Scan(&s.generation, &s.id, &s.sealed, &s.signsFrom, &s.signsUntil, &s.goodUntil)
	})
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	now := k.now()
	last := len(keys) - 1
	var good []signingKey
	for i, s := range keys {
		if i < last && !now.Before(s.goodUntil) {
			continue
		}
		seed, err := k.box.Open(keyPlace(s.id), s.sealed)
		if err != nil {
			return nil, fmt.Errorf("signing key %s %w", s.id, err)
		}
		s.private = ed25519.NewKeyFromSeed(seed)
		good = append(good, s)
	}
	return good, nil
}

// current returns the keys, having read them if there is none that signs now.
func (k *keyring) current(ctx context.Context, now time.Time) ([]signingKey, error) {
	k.mu.Lock()
	keys := k.keys
	k.mu.Unlock()
	if slices.ContainsFunc(keys, func(s signingKey) bool { return s.signs(now) }) {
		return keys, nil
	}
	if err := k.refresh(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys, nil
}

func (s signingKey) signs(at time.Time) bool {
	return !at.Before(s.signsFrom) && at.Before(s.signsUntil)
}

func (s signingKey) quoteKey() quote.Key {
	return quote.Key{ID: s.id, Private: s.private, Until: s.goodUntil}
}

// signer returns the key that signs at a time.
func (k *keyring) signer(ctx context.Context, at time.Time) (quote.Key, error) {
	keys, err := k.current(ctx, at)
	if err != nil {
		return quote.Key{}, err
	}
	for _, s := range slices.Backward(keys) {
		if s.signs(at) {
			return s.quoteKey(), nil
		}
	}
	return quote.Key{}, errNoKey
}

// publish returns all keys that are not retired, as a JWK set.
func (k *keyring) publish(ctx context.Context) ([]byte, error) {
	now := k.now()
	keys, err := k.current(ctx, now)
	if err != nil {
		return nil, err
	}
	var good []quote.Key
	for _, s := range keys {
		if now.Before(s.goodUntil) {
			good = append(good, s.quoteKey())
		}
	}
	return quote.Publish(good)
}

// verifiers are what publish publishes, parsed.
func (k *keyring) verifiers(ctx context.Context) (quote.Keys, error) {
	jwks, err := k.publish(ctx)
	if err != nil {
		return nil, err
	}
	return quote.ParseKeys(jwks)
}
