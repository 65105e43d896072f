package identity

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/token"
)

// The lives of a key.
const (
	keyNext     = "next"     // published, and not used yet
	keyCurrent  = "current"  // signs
	keyRetiring = "retiring" // its last tokens are still valid
)

const (
	// publishTime is how long a key is published before it signs: verifiers that refresh their
	// keys have it by then, and no token of it is new to them.
	publishTime = 4 * token.RefreshEvery
	// ringLife is how long a replica works with the keys that it read.
	ringLife = time.Second
	// retireTime is how long a key is published after it has signed last.
	retireTime = token.TTL + token.Skew + 30*time.Second
)

// keyRow is a key in the table.
type keyRow struct {
	ID, State          string
	Sealed             []byte
	CreatedAt, MovedAt time.Time
}

// keySet is what a replica works with.
type keySet struct {
	readAt  time.Time
	rows    []keyRow
	current *token.Key // nil where there is none yet
	public  map[string]ed25519.PublicKey
	set     jwk.Set
}

// keyring has the keys that sign access tokens. All replicas share them by the table.
type keyring struct {
	pool        *pgxpool.Pool
	box         *seal.Box
	log         *slog.Logger
	rotateEvery time.Duration
	now         func() time.Time

	mu   sync.Mutex
	kept *keySet
}

// load returns the keys, at most ringLife old.
func (k *keyring) load(ctx context.Context) (*keySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept != nil && time.Since(k.kept.readAt) < ringLife {
		return k.kept, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	rows, err := readKeys(ctx, k.pool)
	if err != nil {
		return nil, err
	}
	s := &keySet{readAt: time.Now(), rows: rows, public: make(map[string]ed25519.PublicKey), set: jwk.NewSet()}
	for _, row := range rows {
		key, err := k.open(row)
		if err != nil {
			return nil, err
		}
		public, err := key.Public()
		if err == nil {
			err = s.set.AddKey(public)
		}
		if err != nil {
			return nil, fmt.Errorf("publish keys: %w", err)
		}
		s.public[key.ID] = key.Private.Public().(ed25519.PublicKey) //nolint:forcetypeassert // it is one
		if row.State == keyCurrent {
			s.current = &key
		}
	}
	k.kept = s
	return s, nil
}

// forget has the keys read again.
func (k *keyring) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = nil
}

// Key makes the ring the token.Keys of identity's own routes.
func (k *keyring) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	s, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	return s.public[id], nil
}

// signing returns the key that signs.
func (k *keyring) signing(ctx context.Context) (token.Key, error) {
	s, err := k.load(ctx)
	if err != nil {
		return token.Key{}, err
	}
	if s.current == nil {
		return token.Key{}, fault.New(fault.Unavailable, "token_keys", "There is no key to sign with yet; try again shortly.")
	}
	return *s.current, nil
}

// keyPlace is what a key is sealed for.
func keyPlace(id string) string { return "signing key " + id }

func (k *keyring) open(row keyRow) (token.Key, error) {
	seed, err := k.box.Open(keyPlace(row.ID), row.Sealed)
	if err != nil {
		return token.Key{}, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	return token.Key{ID: row.ID, Private: ed25519.NewKeyFromSeed(seed)}, nil
}

// create returns a new key, sealed. Its id is its thumbprint (RFC 7638).
func (k *keyring) create(state string, now time.Time) (keyRow, error) {
	seed := randomBytes(ed25519.SeedSize)
	public, err := jwk.Import(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		return keyRow{}, fmt.Errorf("new signing key: %w", err)
	}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return keyRow{}, fmt.Errorf("new signing key: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(thumbprint)
	return keyRow{ID: id, State: state, Sealed: k.box.Seal(keyPlace(id), seed), CreatedAt: now, MovedAt: now}, nil
}

// move is a change of the keys. Each is a step that other replicas may see.
type move struct {
	retire, promote string   // ids, or ""
	create          []string // states of new keys
	drop            []string // ids
}

// plan says what is due. force has the next key take over although the current one is
// young, as far as verifiers know it.
func plan(rows []keyRow, now time.Time, rotateEvery time.Duration, force bool) (m move) {
	var current, next *keyRow
	for i := range rows {
		switch r := &rows[i]; {
		case r.State == keyCurrent:
			current = r
		case r.State == keyNext:
			next = r
		case now.Sub(r.MovedAt) > retireTime:
			m.drop = append(m.drop, r.ID)
		}
	}
	due := current != nil && (force || now.Sub(current.MovedAt) >= rotateEvery) && next != nil && now.Sub(next.CreatedAt) >= publishTime
	switch {
	case due:
		m.retire, m.promote, m.create = current.ID, next.ID, []string{keyNext}
	case current == nil && next != nil: // it was revoked: the next one is known already
		m.promote, m.create = next.ID, []string{keyNext}
	case current == nil:
		m.create = []string{keyCurrent, keyNext}
	case next == nil:
		m.create = []string{keyNext}
	}
	return m
}

// keep does what is due. Of all replicas one does it.
func (k *keyring) keep(ctx context.Context, force bool) (m move, err error) {
	defer k.forget()
	err = pgtx.Run(ctx, k.pool, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := lockKeys(ctx, tx)
		if err != nil {
			return err
		}
		m = plan(rows, k.now(), k.rotateEvery, force)
		return k.apply(ctx, tx, m)
	})
	if err == nil && m.promote != "" {
		k.log.InfoContext(ctx, "signing key took over", "key", m.promote, "retiring", m.retire)
	}
	return m, err
}

// revoke takes a key back at once: no verifier accepts its tokens once it has refreshed its
// keys. The next key takes over for the current one.
func (k *keyring) revoke(ctx context.Context, id string) (found bool, err error) {
	defer k.forget()
	err = pgtx.Run(ctx, k.pool, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := lockKeys(ctx, tx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(rows), func(r keyRow) bool { return r.ID == id })
		if found = len(left) < len(rows); !found {
			return nil
		}
		m := plan(left, k.now(), k.rotateEvery, false)
		m.drop = append(m.drop, id)
		return k.apply(ctx, tx, m)
	})
	if err == nil && found {
		k.log.WarnContext(ctx, "signing key revoked", "key", id)
	}
	return found, err
}

func readKeys(ctx context.Context, db querier) ([]keyRow, error) {
	rows, err := db.Query(ctx, `select id, state, sealed, created_at, moved_at from signing_keys order by created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[keyRow])
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	return list, nil
}

// lockKeys reads the keys as the only one who changes them.
func lockKeys(ctx context.Context, tx pgx.Tx) ([]keyRow, error) {
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('signing_keys', 0))`); err != nil {
		return nil, fmt.Errorf("lock signing keys: %w", err)
	}
	return readKeys(ctx, tx)
}

func (k *keyring) apply(ctx context.Context, tx pgx.Tx, m move) error {
	now := k.now()
	var b pgx.Batch
	if len(m.drop) > 0 {
		b.Queue(`delete from signing_keys where id = any ($1)`, m.drop)
	}
	if m.retire != "" {
		b.Queue(`update signing_keys set state = 'retiring', moved_at = $2 where id = $1`, m.retire, now)
	}
	if m.promote != "" {
		b.Queue(`update signing_keys set state = 'current', moved_at = $2 where id = $1`, m.promote, now)
	}
	for _, state := range m.create {
		row, err := k.create(state, now)
		if err != nil {
			return err
		}
		b.Queue(`insert into signing_keys (id, state, sealed, created_at, moved_at) values ($1, $2, $3, $4, $5)`,
			row.ID, row.State, row.Sealed, row.CreatedAt, row.MovedAt)
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("change signing keys: %w", err)
	}
	return nil
}
