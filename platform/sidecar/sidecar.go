// Package sidecar talks to the service's own daprd.
package sidecar

import (
	"context"
	"fmt"
	"strings"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/outbox"
)

// pubsub is the name of the pub/sub component, the same for every broker.
const pubsub = "pubsub"

// connectParams has a daprd that was away for a while found soon after it is back:
// by default the pauses between attempts grow to two minutes.
var connectParams = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 5 * time.Second,
}

// Sidecar is a connection to daprd's gRPC API.
//
// The go-sdk's client is not used for publishing: its interceptor replaces the
// outgoing metadata, and it reports a partly failed bulk publish as a failure of
// the whole, so that what was published would be sent again.
type Sidecar struct {
	conn   *grpc.ClientConn
	client runtimev1.DaprClient
	token  string
}

// Dial prepares a connection to daprd at addr; it is made in the background and
// again whenever it breaks. token is daprd's API token, or "".
func Dial(addr, token string) (*Sidecar, error) {
	conn, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // loopback
		grpc.WithConnectParams(connectParams),
		// Calls between services are part of an order's trace; publishing is not a step
		// of its own.
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithFilter(filters.Not(filters.Any(
			filters.ServicePrefix("dapr."), filters.FullMethodName(httpcall.Method)))))))
	if err != nil {
		return nil, fmt.Errorf("dial sidecar at %s: %w", addr, err)
	}
	conn.Connect()
	return &Sidecar{conn: conn, client: runtimev1.NewDaprClient(conn), token: token}, nil
}

// To returns a connection that calls the gRPC services of another app through the
// sidecars, or daprd's own where app is "".
func (s *Sidecar) To(app string) grpc.ClientConnInterface { return route{s, app} }

type route struct {
	*Sidecar
	app string
}

func (r route) context(ctx context.Context) context.Context {
	if r.app != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "dapr-app-id", r.app)
	}
	return r.authenticated(ctx)
}

// Invoke makes a unary call.
func (r route) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return Retry(ctx, func() error { return r.conn.Invoke(r.context(ctx), method, args, reply, opts...) })
}

// NewStream begins a streaming call.
func (r route) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx = r.context(ctx)
	if r.app != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "dapr-stream", "true")
	}
	return r.conn.NewStream(ctx, desc, method, opts...)
}

// Close ends the connection.
func (s *Sidecar) Close() error { return s.conn.Close() }

// Ready reports whether daprd answers and has subscribed to the topics. One that
// could not read the list from the app only warns, and would never deliver anything.
func (s *Sidecar) Ready(ctx context.Context, topics []string) error {
	about, err := s.about(ctx)
	if err != nil {
		return err
	}
	subscribed := make(map[string]bool, len(topics))
	for _, sub := range about.GetSubscriptions() {
		if sub.GetPubsubName() == pubsub {
			subscribed[sub.GetTopic()] = true
		}
	}
	var missing []string
	for _, topic := range topics {
		if !subscribed[topic] {
			missing = append(missing, topic)
		}
	}
	if missing != nil {
		return fmt.Errorf("sidecar at %s has not subscribed to %s", s.conn.Target(), strings.Join(missing, ", "))
	}
	return nil
}

// Workers returns how many workers daprd's workflow engine has, and false where daprd does
// not tell.
func (s *Sidecar) Workers(ctx context.Context) (n int, told bool, err error) {
	about, err := s.about(ctx)
	if err != nil {
		return 0, false, err
	}
	w := about.GetWorkflows()
	return int(w.GetConnectedWorkers()), w != nil, nil
}

// about is what daprd says of itself.
func (s *Sidecar) about(ctx context.Context) (*runtimev1.GetMetadataResponse, error) {
	about, err := s.client.GetMetadata(s.authenticated(ctx), &runtimev1.GetMetadataRequest{})
	if err != nil {
		return nil, fmt.Errorf("sidecar at %s: %w", s.conn.Target(), err)
	}
	return about, nil
}

// End has daprd stop, in good order. Those who look after it start it again.
func (s *Sidecar) End(ctx context.Context) error {
	if _, err := s.client.Shutdown(s.authenticated(ctx), &runtimev1.ShutdownRequest{}); err != nil {
		return fmt.Errorf("end sidecar at %s: %w", s.conn.Target(), err)
	}
	return nil
}

func (s *Sidecar) authenticated(ctx context.Context) context.Context {
	if s.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "dapr-api-token", s.token)
}

// Publish publishes messages of one topic, as they are, in one call.
func (s *Sidecar) Publish(ctx context.Context, topic string, batch []outbox.Message) ([]uuid.UUID, error) {
	entries := make([]*runtimev1.BulkPublishRequestEntry, len(batch))
	for i, m := range batch {
		entries[i] = &runtimev1.BulkPublishRequestEntry{
			EntryId: m.ID.String(), Event: m.Payload, ContentType: "application/cloudevents+json",
			Metadata: map[string]string{"partitionKey": m.Key},
		}
	}
	// The payload is a complete CloudEvent: raw keeps daprd from wrapping it again.
	answer, err := s.client.BulkPublishEvent(s.authenticated(ctx), &runtimev1.BulkPublishRequest{
		PubsubName: pubsub, Topic: topic, Entries: entries,
		Metadata: map[string]string{"rawPayload": "true"},
	})
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", topic, classify(err))
	}
	var failed []uuid.UUID
	for _, f := range answer.GetFailedEntries() {
		id, perr := uuid.Parse(f.GetEntryId())
		if perr != nil {
			return nil, fmt.Errorf("publish to %s: sidecar refused an unknown entry %q", topic, f.GetEntryId())
		}
		failed = append(failed, id)
		err = fmt.Errorf("publish to %s: %s", topic, f.GetError())
	}
	return failed, err
}

// classify adds what daprd's status tells of the cause. It answers Internal for
// whatever the broker says: that it is away, that it lacks the topic, or that it
// refuses one of the messages; so Internal stays what it is.
func classify(err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied: // allowedTopics, publishingScopes
		return fmt.Errorf("%w: %w", outbox.ErrTopicRefused, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, // daprd is away, or slow
		codes.Unauthenticated,                    // the API token is not daprd's
		codes.NotFound, codes.FailedPrecondition: // it has no component pubsub
		return fmt.Errorf("%w: %w", outbox.ErrAway, err)
	default:
		return err
	}
}
