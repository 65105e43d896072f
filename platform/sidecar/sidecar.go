// Package sidecar talks to the service's own daprd.
package sidecar

import (
	"context"
	"fmt"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"quadrille.internal/platform/outbox"
)

// pubsub is the name of the pub/sub component, the same for every broker.
const pubsub = "pubsub"

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
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials())) // loopback
	if err != nil {
		return nil, fmt.Errorf("dial sidecar at %s: %w", addr, err)
	}
	conn.Connect()
	return &Sidecar{conn: conn, client: runtimev1.NewDaprClient(conn), token: token}, nil
}

// Close ends the connection.
func (s *Sidecar) Close() error { return s.conn.Close() }

// Ready reports whether daprd's API can be reached.
func (s *Sidecar) Ready() error {
	state := s.conn.GetState()
	if state == connectivity.Ready {
		return nil
	}
	s.conn.Connect() // an idle connection is made only on demand
	return fmt.Errorf("sidecar at %s is %s", s.conn.Target(), state)
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
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "dapr-api-token", s.token)
	}
	// The payload is a complete CloudEvent: raw keeps daprd from wrapping it anew.
	answer, err := s.client.BulkPublishEvent(ctx, &runtimev1.BulkPublishRequest{
		PubsubName: pubsub, Topic: topic, Entries: entries,
		Metadata: map[string]string{"rawPayload": "true"},
	})
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", topic, err)
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
