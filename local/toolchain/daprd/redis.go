package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	redisclient "github.com/dapr/components-contrib/common/component/redis"
	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/components-contrib/pubsub/redis"
	"github.com/dapr/kit/logger"
)

// redisStreams is pubsub.redis with the two bulk interfaces that Dapr offers to
// components and pubsub.kafka has; everything else is upstream's.
//
// Without them the runtime makes bulk calls out of single ones: a goroutine, a
// round trip and a wake-up for each message and again for its acknowledgement,
// and batches that a timer cuts. Here a batch is what one XREADGROUP returns, at
// once when it comes, and is acknowledged by one XACK; a bulk publish is one round
// trip. What lies in Redis is the same, so both kinds of sidecar may share a
// stream.
type redisStreams struct {
	pubsub.PubSub

	log      logger.Logger
	client   redisclient.RedisClient
	settings *redisclient.Settings
	loops    sync.WaitGroup
	closed   context.Context //nolint:containedctx // ends the loops of all subscriptions
	close    context.CancelFunc
}

var (
	_ pubsub.BulkSubscriber = (*redisStreams)(nil)
	_ pubsub.BulkPublisher  = (*redisStreams)(nil)
)

const (
	readBlock    = time.Second // also how soon a pending message is looked for on a quiet topic
	readPause    = time.Second // after a failed read
	ackTimeout   = 5 * time.Second
	defaultBatch = 100
)

func newRedisStreams(log logger.Logger) pubsub.PubSub {
	r := &redisStreams{PubSub: redis.NewRedisStreams(log), log: log}
	r.closed, r.close = context.WithCancel(context.Background())
	return r
}

// Init connects upstream's component, and once more for the bulk calls.
func (r *redisStreams) Init(ctx context.Context, meta pubsub.Metadata) error {
	if err := r.PubSub.Init(ctx, meta); err != nil {
		return err
	}
	var err error
	r.client, r.settings, err = redisclient.ParseClientFromProperties(meta.Properties, metadata.PubSubType, ctx, &r.log)
	return err
}

// Ping is upstream's.
func (r *redisStreams) Ping(ctx context.Context) error { return pubsub.Ping(ctx, r.PubSub) }

// Close ends the subscriptions and both connections.
func (r *redisStreams) Close() error {
	r.close()
	r.loops.Wait()
	err := r.PubSub.Close()
	if r.client == nil {
		return err
	}
	return errors.Join(err, r.client.Close())
}

// BulkPublish adds all messages to the stream, or none, in one round trip.
func (r *redisStreams) BulkPublish(ctx context.Context, req *pubsub.BulkPublishRequest) (pubsub.BulkPublishResponse, error) {
	pipe := r.client.TxPipeline()
	for _, e := range req.Entries {
		args := append([]any{"XADD", req.Topic}, r.trim()...)
		args = append(args, "*", "data", e.Event)
		if len(e.Metadata) > 0 {
			text, err := json.Marshal(e.Metadata)
			if err != nil {
				return pubsub.NewBulkPublishResponse(req.Entries, err), pubsub.NewTerminalError(err)
			}
			args = append(args, "metadata", text)
		}
		pipe.Do(ctx, args...)
	}
	if err := pipe.Exec(ctx); err != nil {
		err = fmt.Errorf("redis streams: error from bulk publish: %w", err)
		return pubsub.NewBulkPublishResponse(req.Entries, err), pubsub.NewRetriableError(err)
	}
	return pubsub.BulkPublishResponse{}, nil
}

// trim bounds the stream as upstream does.
func (r *redisStreams) trim() []any {
	if minID := r.settings.GetMinID(time.Now()); minID != "" {
		return []any{"MINID", "~", minID}
	}
	if n := r.settings.MaxLenApprox; n > 0 {
		return []any{"MAXLEN", "~", n}
	}
	return nil
}

// BulkSubscribe hands batches of a topic to handler, one at a time, until ctx ends
// or the component is closed.
func (r *redisStreams) BulkSubscribe(ctx context.Context, req pubsub.SubscribeRequest, handler pubsub.BulkHandler) error {
	err := r.client.XGroupCreateMkStream(ctx, req.Topic, r.settings.ConsumerID, "0")
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("redis streams: create consumer group for %s: %w", req.Topic, err)
	}
	s := &subscription{redisStreams: r, topic: req.Topic, handler: handler, batch: int64(req.BulkSubscribeConfig.MaxMessagesCount)}
	if s.batch <= 0 {
		s.batch = defaultBatch
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.closed, cancel)
	r.loops.Go(func() {
		defer cancel()
		defer stop()
		s.run(ctx)
	})
	return nil
}

// subscription is one topic's.
type subscription struct {
	*redisStreams
	topic   string
	handler pubsub.BulkHandler
	batch   int64
}

// run reads and hands over batches. From time to time it takes up messages that
// were delivered but not acknowledged: by a sidecar that died, or refused.
func (s *subscription) run(ctx context.Context) {
	var reclaimed time.Time
	for ctx.Err() == nil {
		if s.settings.RedeliverInterval > 0 && time.Since(reclaimed) >= s.settings.RedeliverInterval {
			s.reclaim(ctx)
			reclaimed = time.Now()
		}
		if err := s.read(ctx); err != nil && ctx.Err() == nil {
			s.log.Errorf("redis streams: error reading from stream %s: %s", s.topic, err)
			s.recreateGroup(ctx, err)
			select {
			case <-ctx.Done():
			case <-time.After(readPause):
			}
		}
	}
}

func (s *subscription) read(ctx context.Context) error {
	streams, err := s.client.XReadGroupResult(ctx, s.settings.ConsumerID, s.settings.ConsumerID,
		[]string{s.topic, ">"}, s.batch, readBlock)
	if err != nil {
		if s.client.IsNilValueError(err) || errors.Is(err, context.DeadlineExceeded) {
			return nil // nothing came
		}
		return err
	}
	for _, stream := range streams {
		s.deliver(ctx, stream.Messages)
	}
	return nil
}

// recreateGroup makes a consumer group again that a Redis without its data lost.
func (s *subscription) recreateGroup(ctx context.Context, err error) {
	if !strings.Contains(err.Error(), "NOGROUP") {
		return
	}
	if err := s.client.XGroupCreateMkStream(ctx, s.topic, s.settings.ConsumerID, "0"); err != nil {
		s.log.Errorf("redis streams: error recreating group for stream %s: %s", s.topic, err)
	}
}

// deliver hands messages over and acknowledges those that were handled. The others
// stay pending and are taken up again.
func (s *subscription) deliver(ctx context.Context, messages []redisclient.RedisXMessage) {
	entries := make([]pubsub.BulkMessageEntry, len(messages))
	for i, m := range messages {
		entries[i] = entry(m)
	}
	results, err := s.handler(ctx, &pubsub.BulkMessage{Topic: s.topic, Entries: entries})
	failed := make(map[string]bool)
	for _, result := range results {
		failed[result.EntryId] = result.Error != nil
	}
	ids := []any{"XACK", s.topic, s.settings.ConsumerID}
	for _, e := range entries {
		// With an error, only what is named as handled was.
		if refused, named := failed[e.EntryId]; !refused && (named || err == nil) {
			ids = append(ids, e.EntryId)
		}
	}
	if len(ids) == 3 {
		return
	}
	// An acknowledgement that is lost costs a repetition, also when it is the last.
	ackCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
	defer cancel()
	if err := s.client.DoWrite(ackCtx, ids...); err != nil {
		s.log.Errorf("redis streams: error acknowledging %d messages of stream %s: %s", len(ids)-3, s.topic, err)
	}
}

func entry(m redisclient.RedisXMessage) pubsub.BulkMessageEntry {
	e := pubsub.BulkMessageEntry{EntryId: m.ID}
	if data, ok := m.Values["data"].(string); ok {
		e.Event = []byte(data)
	}
	if text, ok := m.Values["metadata"].(string); ok {
		_ = json.Unmarshal([]byte(text), &e.Metadata) // what is no metadata is none, as upstream has it
	}
	return e
}

// reclaim takes up messages that have been pending for longer than
// processingTimeout, and forgets those that the stream no longer has.
func (s *subscription) reclaim(ctx context.Context) {
	for ctx.Err() == nil {
		pending, err := s.client.XPendingExtResult(ctx, s.topic, s.settings.ConsumerID, "-", "+", s.batch)
		if err != nil {
			if !s.client.IsNilValueError(err) && ctx.Err() == nil {
				s.log.Errorf("redis streams: error looking for pending messages of stream %s: %s", s.topic, err)
			}
			return
		}
		var ids []string
		for _, p := range pending {
			if p.Idle >= s.settings.ProcessingTimeout {
				ids = append(ids, p.ID)
			}
		}
		if len(ids) == 0 {
			return
		}
		claimed, err := s.client.XClaimResult(ctx, s.topic, s.settings.ConsumerID, s.settings.ConsumerID, s.settings.ProcessingTimeout, ids)
		if err != nil && !s.client.IsNilValueError(err) {
			s.log.Errorf("redis streams: error claiming pending messages of stream %s: %s", s.topic, err)
			return
		}
		if len(claimed) == 0 {
			return // a replica was faster
		}
		s.deliver(ctx, claimed)
	}
}
