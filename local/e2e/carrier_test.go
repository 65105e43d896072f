package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quadrille.internal/events"
)

// A carrier is the broker behind every sidecar's back.
type carrier interface {
	// publish puts a payload on a topic as it is.
	publish(ctx context.Context, topic, payload string) error
	// read returns what is on a topic, oldest first within a partition.
	read(ctx context.Context, topic string) ([]string, error)
	// delivered returns an error until every consumer has answered for all of the topics.
	delivered(ctx context.Context, topics ...string) error
}

// broker connects to the broker for the time of a test.
func (s *system) broker(t *testing.T) carrier {
	t.Helper()
	if !onKafka {
		client := redis.NewClient(&redis.Options{Addr: s.RedisAddr(), Password: s.RedisPassword()})
		t.Cleanup(func() { _ = client.Close() })
		return onRedis{client}
	}
	return kafkaCarrier{s, s.kafka(t)}
}

// kafka connects to Kafka with every right for the time of a test.
func (s *system) kafka(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return s.kafkaAs(t, "", opts...)
}

func (s *system) kafkaAs(t *testing.T, user string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := s.KafkaClient(user, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// payloadField is the field of a stream's entry that Dapr keeps the message in.
const payloadField = "data"

type onRedis struct{ *redis.Client }

func (r onRedis) publish(ctx context.Context, topic, payload string) error {
	return r.XAdd(ctx, &redis.XAddArgs{Stream: topic, Values: []string{payloadField, payload}}).Err()
}

func (r onRedis) read(ctx context.Context, topic string) ([]string, error) {
	entries, err := r.XRange(ctx, topic, "-", "+").Result()
	if err != nil {
		return nil, err
	}
	payloads := make([]string, len(entries))
	for i, entry := range entries {
		payloads[i], _ = entry.Values[payloadField].(string)
	}
	return payloads, nil
}

func (r onRedis) delivered(ctx context.Context, topics ...string) error {
	for _, topic := range topics {
		consumers, err := r.XInfoGroups(ctx, topic).Result()
		if err != nil {
			return err
		}
		for _, c := range consumers {
			if c.Lag > 0 || c.Pending > 0 {
				return fmt.Errorf("%s has %d events of %s to read and %d to answer for", c.Name, c.Lag, topic, c.Pending)
			}
		}
	}
	return nil
}

type kafkaCarrier struct {
	s      *system
	client *kgo.Client
}

func (k kafkaCarrier) publish(ctx context.Context, topic, payload string) error {
	record := &kgo.Record{Topic: topic, Value: []byte(payload)}
	if envelope, _, err := events.Decode(record.Value); err == nil {
		record.Key = []byte(envelope.Subject)
	}
	return k.client.ProduceSync(ctx, record).FirstErr()
}

func (k kafkaCarrier) read(ctx context.Context, topic string) (payloads []string, err error) {
	err = k.each(ctx, topic, func(r *kgo.Record) { payloads = append(payloads, string(r.Value)) })
	return payloads, err
}

// each calls see with all records that are on a topic now.
func (k kafkaCarrier) each(ctx context.Context, topic string, see func(*kgo.Record)) error {
	admin := kadm.NewClient(k.client)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			from[o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	reader, err := k.s.KafkaClient("", kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer reader.Close()
	for len(from) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			see(r)
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset+1 >= end.Offset {
				delete(from, r.Partition)
			}
		})
	}
	return nil
}

func (k kafkaCarrier) delivered(ctx context.Context, topics ...string) error {
	lags, err := kadm.NewClient(k.client).Lag(ctx, k.s.subscribers()...)
	if err != nil {
		return err
	}
	for _, group := range lags {
		if err := group.Error(); err != nil {
			return fmt.Errorf("lag of %s: %w", group.Group, err)
		}
		for topic, lag := range group.Lag.TotalByTopic() {
			if lag.Lag > 0 && slices.Contains(topics, topic) {
				return fmt.Errorf("%s has %d events of %s to answer for", group.Group, lag.Lag, topic)
			}
		}
	}
	return nil
}
