package checkout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
// is away.
type keyring struct {
	prices pricev1.PricesClient
	log    *slog.Logger
	kept   atomic.Pointer[quote.Keys]

	mu    sync.Mutex // of the request that asks price; the others wait for its answer
	asked time.Time
}

func newKeyring(conn grpc.ClientConnInterface, log *slog.Logger) *keyring {
	return &keyring{prices: pricev1.NewPricesClient(conn), log: log}
}

// run keeps the keys up to date.
func (k *keyring) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "keys of price", Every: keysInterval, Timeout: keysTimeout, Log: k.log},
		func(ctx context.Context) (bool, error) { return false, k.fetch(ctx) }).Run(ctx)
}

func (k *keyring) fetch(ctx context.Context) error {
	answer, err := k.prices.Keys(ctx, &pricev1.KeysRequest{})
	if err != nil {
		return fmt.Errorf("ask price for its keys: %w", err)
	}
	keys, err := quote.ParseKeys([]byte(answer.GetJwks()))
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
		if keys, err = k.renew(ctx, keys); err != nil {
			return nil, &fault.Fault{Kind: fault.Unavailable, Code: "price_unavailable", Cause: err,
				Message: "The quote cannot be verified now; send the request again shortly, with the same Idempotency-Key."}
		}
		q, err = verify(keys, token, now)
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

// renew returns newer keys than those that did not do, or the same if price has no others,
// or was asked just now.
func (k *keyring) renew(ctx context.Context, stale *quote.Keys) (*quote.Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if kept := k.kept.Load(); kept != stale {
		return kept, nil
	}
	if time.Since(k.asked) > keysCoolDown {
		k.asked = time.Now()
		if err := k.fetch(ctx); err != nil {
			return nil, err
		}
	}
	kept := k.kept.Load()
	if kept == nil {
		return nil, errors.New("the keys of price are not known yet")
	}
	return kept, nil
}
