package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"
	timerate "golang.org/x/time/rate"
)

const (
	// maxKeys bounds the keys that a limit remembers, some 300 bytes each. One that is
	// forgotten may ask at its full burst again.
	maxKeys = 32_768
	// sharedTimeout is what a request may wait for the shared count, and sharedPause how
	// long that is not asked after it did not answer.
	sharedTimeout = 50 * time.Millisecond
	sharedPause   = time.Second
)

// limit allows each key so many requests: among all gateways where they share a count, and
// otherwise, also while the Redis that has it is away, each gateway its part of the rate.
type limit struct {
	name   string
	rate   rate
	own    rate
	keys   *lru.Cache[string, *timerate.Limiter]
	shared *shared
}

func newLimit(name string, r rate, replicas int, s *shared) *limit {
	keys, _ := lru.New[string, *timerate.Limiter](maxKeys) // fails on a size below 1
	part := func(n int) int { return max(1, n/replicas) }
	return &limit{name: name, rate: r, own: rate{part(r.perSecond), part(r.burst)}, keys: keys, shared: s}
}

// allow reports whether a key may ask now, or after how long it may.
func (l *limit) allow(ctx context.Context, key string) (wait time.Duration, ok bool) {
	if l.shared != nil {
		if wait, ok, known := l.shared.allow(ctx, l.name, key, l.rate); known {
			return wait, ok
		}
	}
	limiter, found := l.keys.Get(key)
	if !found {
		fresh := timerate.NewLimiter(timerate.Limit(l.own.perSecond), l.own.burst)
		if limiter, found, _ = l.keys.PeekOrAdd(key, fresh); !found {
			limiter = fresh
		}
	}
	if limiter.Allow() {
		return 0, true
	}
	return time.Duration(float64(time.Second) / float64(l.own.perSecond)), false
}

// shared is the count that gateways share.
type shared struct {
	client  *redis.Client
	limiter *redis_rate.Limiter
	log     *slog.Logger
	// awayUntil is when it may be asked again, in Unix nanoseconds.
	awayUntil atomic.Int64
	failed    atomic.Int64
}

func newShared(set settings, log *slog.Logger) *shared {
	if set.redis == "" {
		return nil
	}
	client := redis.NewClient(&redis.Options{
		Addr: set.redis, Password: set.redisPassword.Reveal(), DialTimeout: sharedTimeout, ReadTimeout: sharedTimeout, WriteTimeout: sharedTimeout,
		PoolTimeout: sharedTimeout, MaxRetries: -1, ContextTimeoutEnabled: true,
	})
	return &shared{client: client, limiter: redis_rate.NewLimiter(client), log: log}
}

// allow is not known while Redis is away.
func (s *shared) allow(ctx context.Context, limit, key string, r rate) (wait time.Duration, ok, known bool) {
	away := s.awayUntil.Load()
	if time.Now().UnixNano() < away {
		return 0, false, false
	}
	// Redis keeps no address and no account: a hash of it, for seconds.
	sum := sha256.Sum256([]byte(limit + ":" + key))
	asked, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	answer, err := s.limiter.Allow(asked, "quadrille:gateway:"+hex.EncodeToString(sum[:12]),
		redis_rate.Limit{Rate: r.perSecond, Burst: r.burst, Period: time.Second})
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, false, false // the client went away, Redis did not
	case err != nil:
		s.failed.Add(1)
		if s.awayUntil.CompareAndSwap(away, time.Now().Add(sharedPause).UnixNano()) && away == 0 {
			s.log.WarnContext(ctx, "the shared count of requests is away; each gateway allows its part of the rates", "err", err)
		}
		return 0, false, false
	}
	if away != 0 && s.awayUntil.CompareAndSwap(away, 0) {
		s.log.InfoContext(ctx, "the shared count of requests is back")
	}
	return answer.RetryAfter, answer.Allowed > 0, true
}

// seconds is a Retry-After: whole seconds, at least one.
func seconds(wait time.Duration) int { return max(1, int(math.Ceil(wait.Seconds()))) }
