package token

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"quadrille.internal/platform/sweep"
)

// JWKSPath is where identity publishes its keys.
const JWKSPath = "/.well-known/jwks.json"

const (
	// RefreshEvery is how often the keys are fetched: as long lives a key that was revoked.
	RefreshEvery = 30 * time.Second
	// coolDown is how long after a fetch a key that is still unknown causes no other one:
	// forged tokens name as many keys as they like.
	coolDown = 10 * time.Second
	// startCoolDown is the same while there are no keys at all.
	startCoolDown = time.Second

	fetchTimeout = 2 * time.Second
	maxJWKS      = 64 << 10
	// maxWaiting bounds the requests that wait for a fetch: forged tokens must not take all
	// the places of others while identity is slow.
	maxWaiting = 32
)

// Remote are the keys that identity publishes. They are kept, also while identity is away.
type Remote struct {
	url     string
	client  *http.Client
	log     *slog.Logger
	now     func() time.Time
	set     atomic.Pointer[map[string]ed25519.PublicKey] // nil until they were fetched once
	waiting chan struct{}
	busy    chan struct{} // held by the one that fetches
	tried   time.Time     // last, under busy
	err     error         // of that, under busy
	fetches atomic.Int64
	failed  atomic.Int64
}

// NewRemote returns the keys of identity, which is at a URL. They are fetched when they are
// asked for, and again and again while Run runs.
func NewRemote(identity string, log *slog.Logger) *Remote {
	return &Remote{
		url: identity + JWKSPath, log: log, now: time.Now,
		client:  &http.Client{Timeout: fetchTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * RefreshEvery}},
		waiting: make(chan struct{}, maxWaiting), busy: make(chan struct{}, 1),
	}
}

// Run refreshes the keys until ctx ends.
func (r *Remote) Run(ctx context.Context) error {
	defer r.client.CloseIdleConnections()
	return sweep.New(sweep.Config{Name: "token keys", Every: RefreshEvery, Timeout: 2 * fetchTimeout, Log: r.log},
		func(ctx context.Context) (bool, error) { return false, r.refresh(ctx, 0) }).Run(ctx)
}

// Fetches counts the times that the keys were asked for.
func (r *Remote) Fetches() int64 { return r.fetches.Load() }

// Failed counts those that failed.
func (r *Remote) Failed() int64 { return r.failed.Load() }

// Key returns a key. One that is not known is looked for at identity, at most once in the
// cool-down; in between it is taken for one that identity does not have. Where identity did not
// answer that is an error: the key may be a new one.
func (r *Remote) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	rest := startCoolDown
	if set := r.set.Load(); set != nil {
		if key := (*set)[id]; key != nil {
			return key, nil
		}
		rest = coolDown
	}
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
	default:
		return nil, errors.New("too many requests wait for the keys")
	}
	err := r.refresh(ctx, rest)
	set := r.set.Load()
	if set == nil {
		return nil, errors.Join(errors.New("no keys were fetched yet"), err)
	}
	if key := (*set)[id]; key != nil {
		return key, nil
	}
	return nil, err // nil where identity has no such key
}

// refresh fetches the keys, unless that was tried less than rest ago. Who has no keys at all
// waits until then: identity may start at this moment.
func (r *Remote) refresh(ctx context.Context, rest time.Duration) error {
	began := r.now()
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if early := rest - r.now().Sub(r.tried); early > 0 {
		if r.set.Load() != nil || r.tried.After(began) {
			return r.err
		}
		select {
		case <-time.After(early):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.tried = r.now()
	// Others wait for this fetch as well: that its request is cancelled must not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	r.fetches.Add(1)
	set, err := r.fetch(ctx)
	if r.err = nil; err != nil {
		r.failed.Add(1)
		r.err = fmt.Errorf("fetch %s: %w", r.url, err)
		return r.err
	}
	r.set.Store(&set)
	return nil
}

func (r *Remote) fetch(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxJWKS))
	if err != nil {
		return nil, err
	}
	return parseKeys(body)
}

// parseKeys takes the Ed25519 keys of a JWKS; identity may come to have others.
func parseKeys(body []byte) (map[string]ed25519.PublicKey, error) {
	set, err := jwk.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("parse the keys: %w", err)
	}
	keys := make(map[string]ed25519.PublicKey)
	for i := range set.Len() {
		key, _ := set.Key(i)
		id, ok := key.KeyID()
		var public ed25519.PublicKey
		if ok && jwk.Export(key, &public) == nil {
			keys[id] = public
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no Ed25519 key among them")
	}
	return keys, nil
}
