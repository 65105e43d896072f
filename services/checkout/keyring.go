package checkout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/sweep"
)

const (
	keysInterval = 30 * time.Second
	keysTimeout  = 2 * time.Second
	// keysCoolDown is the least time between two questions that a request causes: anybody
	// may write any key into a quote.
	keysCoolDown = time.Second
)

// keyring keeps the keys that quotes are verified by, so that they are known while price
// is away. The database has them too, for replicas that start then. Each key has its end in
// it, so an old one is not taken for good.
type keyring struct {
	prices pricev1.PricesClient
	pool   *pgxpool.Pool
	log    *slog.Logger
	kept   atomic.Pointer[quote.Keys]

	mu    sync.Mutex // of the request that asks price; the others wait for its answer
	asked time.Time
	// failed is why price told no keys then, or nil.
	failed error
}

func newKeyring(conn grpc.ClientConnInterface, pool *pgxpool.Pool, log *slog.Logger) *keyring {
	return &keyring{prices: pricev1.NewPricesClient(conn), pool: pool, log: log}
}

// run keeps the keys up to date.
func (k *keyring) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "keys of price", Every: keysInterval, Timeout: keysTimeout, Log: k.log},
		func(ctx context.Context) (bool, error) { return false, k.fetch(ctx, keysTimeout/2) }).Run(ctx)
}

// fetch asks price for its keys. While price is away, what a replica was told last will do.
func (k *keyring) fetch(ctx context.Context, within time.Duration) error {
	asked, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, err := k.prices.Keys(asked, &pricev1.KeysRequest{})
	if err != nil {
		return errors.Join(fmt.Errorf("ask price for its keys: %w", err), k.recall(ctx))
	}
	keys, err := quote.ParseKeys([]byte(answer.GetJwks()))
	if err != nil {
		return err
	}
	k.kept.Store(&keys)
	_, err = k.pool.Exec(ctx, `
		insert into price_keys as kept (jwks) values ($1)
		on conflict (one) do update set jwks = excluded.jwks, fetched_at = now() where kept.jwks <> excluded.jwks`, answer.GetJwks())
	if err != nil {
		return fmt.Errorf("keep the keys of price: %w", err)
	}
	return nil
}

// recall takes the keys that the database has, if it has any.
func (k *keyring) recall(ctx context.Context) error {
	var jwks string
	err := k.pool.QueryRow(ctx, `select jwks from price_keys`).Scan(&jwks)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the keys of price: %w", err)
	}
	keys, err := quote.ParseKeys([]byte(jwks))
	if err != nil {
		return err
	}
	k.kept.Store(&keys)
	return nil
}

// verify returns the quote of a token whose signature is good now.
func (k *keyring) verify(ctx context.Context, token string) (*price.Quote, error) {
	now := time.Now()
	keys := k.kept.Load()
	q, err := verify(keys, token, now)
	if errors.Is(err, quote.ErrUnknownKey) {
		newer, failed := k.renew(ctx, keys)
		q, err = verify(newer, token, now)
		if failed != nil && errors.Is(err, quote.ErrUnknownKey) {
			return nil, &fault.Fault{Kind: fault.Unavailable, Code: "price_unavailable", Cause: failed,
				Message: "The quote cannot be verified now; send the request again shortly, with the same Idempotency-Key."}
		}
	}
	switch {
	case errors.Is(err, quote.ErrUnknownKey), errors.Is(err, quote.ErrRetiredKey):
		return nil, &fault.Fault{Kind: fault.Conflict, Code: "quote_key_retired", Cause: err,
			Message: "The quote was signed with a key that is not good any more: have the cart quoted again."}
	case err != nil:
		return nil, quoteInvalid(err)
	default:
		return q, nil
	}
}

func verify(keys *quote.Keys, token string, now time.Time) (*price.Quote, error) {
	if keys == nil {
		return nil, quote.ErrUnknownKey
	}
	return keys.Verify(token, now)
}

// renew returns newer keys than those that did not do, or the same if there are no others.
// The error is that of price, which was asked now, or a moment ago.
func (k *keyring) renew(ctx context.Context, stale *quote.Keys) (*quote.Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if kept := k.kept.Load(); kept != stale {
		return kept, nil
	}
	if time.Since(k.asked) > keysCoolDown {
		k.asked = time.Now()
		k.failed = k.fetch(ctx, commitTimeout)
	}
	return k.kept.Load(), k.failed
}
