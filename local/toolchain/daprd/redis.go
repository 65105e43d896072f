package main

import (
	"context"

	"github.com/dapr/components-contrib/health"
	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/components-contrib/pubsub/redis"
	"github.com/dapr/kit/logger"
)

// redisStreams is pubsub.redis that asks for immediate bulk flushes.
//
// Upstream collects a bulk subscription's batch until it is full or
// maxAwaitDurationMs is over, so every event of a quiet system pays that wait at
// every hop. With FeatureBulkSubscribeImmediate the runtime hands over the first
// message at once and, while the app works on it, gathers what arrives for the
// next call: batches of one when idle, full ones under load, and no timer.
type redisStreams struct {
	pubsub.PubSub
	health.Pinger
}

// The embedded interfaces are all that the runtime looks for in pubsub.redis:
// it has no bulk methods of its own and can't be paused.
var (
	_ pubsub.PubSub = redisStreams{}
	_ health.Pinger = redisStreams{}
)

func newRedisStreams(log logger.Logger) pubsub.PubSub {
	upstream := redis.NewRedisStreams(log)
	return redisStreams{PubSub: upstream, Pinger: pinger{upstream}}
}

func (r redisStreams) Features() []pubsub.Feature {
	return append(r.PubSub.Features(), pubsub.FeatureBulkSubscribeImmediate)
}

// pinger answers as upstream does: with an error when the component can't ping.
type pinger struct{ component pubsub.PubSub }

func (p pinger) Ping(ctx context.Context) error { return pubsub.Ping(ctx, p.component) }
