package sidecar_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/sidecar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "dapr-token"

// daprd stands for the sidecar.
type daprd struct {
	runtimev1.UnimplementedDaprServer
	got           *runtimev1.BulkPublishRequest
	failed        []string // entry ids to refuse
	err           error
	subscriptions []string // pubsub/topic
}

func (d *daprd) BulkPublishEvent(ctx context.Context, req *runtimev1.BulkPublishRequest) (*runtimev1.BulkPublishResponse, error) {
	if !slices.Equal(metadata.ValueFromIncomingContext(ctx, "dapr-api-token"), []string{token}) {
		return nil, status.Error(codes.Unauthenticated, "token")
	}
	d.got = req
	resp := &runtimev1.BulkPublishResponse{}
	for _, id := range d.failed {
		resp.FailedEntries = append(resp.FailedEntries, &runtimev1.BulkPublishResponseFailedEntry{EntryId: id, Error: "no"})
	}
	return resp, d.err
}

func (d *daprd) GetMetadata(context.Context, *runtimev1.GetMetadataRequest) (*runtimev1.GetMetadataResponse, error) {
	resp := &runtimev1.GetMetadataResponse{}
	for _, s := range d.subscriptions {
		pubsub, topic, _ := strings.Cut(s, "/")
		resp.Subscriptions = append(resp.Subscriptions, &runtimev1.PubsubSubscription{PubsubName: pubsub, Topic: topic})
	}
	return resp, d.err
}

func serve(t *testing.T, d *daprd) *sidecar.Sidecar {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimev1.RegisterDaprServer(server, d)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	s, err := sidecar.Dial(ln.Addr().String(), token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); server.Stop(); <-served })
	return s
}

func batch() []outbox.Message {
	one, two := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	return []outbox.Message{
		{ID: one, Key: "order-1", Payload: []byte(`{"id":1}`)},
		{ID: two, Key: "order-2", Payload: []byte(`{"id":2}`)},
	}
}

func TestPublishSendsPayloadsAsTheyAre(t *testing.T) {
	d := new(daprd)
	messages := batch()
	if failed, err := serve(t, d).Publish(t.Context(), "order.confirmed", messages); err != nil || failed != nil {
		t.Fatalf("Publish = %v, %v", failed, err)
	}
	if d.got.GetPubsubName() != "pubsub" || d.got.GetTopic() != "order.confirmed" || d.got.GetMetadata()["rawPayload"] != "true" {
		t.Errorf("request %v", d.got)
	}
	for i, e := range d.got.GetEntries() {
		m := messages[i]
		if e.GetEntryId() != m.ID.String() || string(e.GetEvent()) != string(m.Payload) || e.GetMetadata()["partitionKey"] != m.Key {
			t.Errorf("entry %d is %v, want %+v", i, e, m)
		}
	}
}

func TestPublishReportsWhatWasNotTaken(t *testing.T) {
	messages := batch()
	for _, c := range []struct {
		name   string
		daprd  daprd
		failed []uuid.UUID
	}{
		{"some", daprd{failed: []string{messages[1].ID.String()}}, []uuid.UUID{messages[1].ID}},
		{"all", daprd{failed: []string{messages[0].ID.String(), messages[1].ID.String()}}, []uuid.UUID{messages[0].ID, messages[1].ID}},
		{"the call", daprd{err: status.Error(codes.Unavailable, "broker is away")}, nil},
		{"an entry that was not sent", daprd{failed: []string{"x"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed, err := serve(t, &c.daprd).Publish(t.Context(), "order.confirmed", messages)
			if err == nil || !slices.Equal(failed, c.failed) {
				t.Errorf("Publish = %v, %v, want %v and an error", failed, err, c.failed)
			}
		})
	}
}

func TestPublishTellsWhyNothingWasTaken(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied:   outbox.ErrTopicRefused,
		codes.Unavailable:        outbox.ErrAway,
		codes.DeadlineExceeded:   outbox.ErrAway,
		codes.Unauthenticated:    outbox.ErrAway,
		codes.FailedPrecondition: outbox.ErrAway,
		codes.Internal:           nil,
		codes.ResourceExhausted:  nil, // a message above daprd's limit
	} {
		t.Run(code.String(), func(t *testing.T) {
			_, err := serve(t, &daprd{err: status.Error(code, "x")}).Publish(t.Context(), "order.confirmed", batch())
			for _, sentinel := range []error{outbox.ErrTopicRefused, outbox.ErrAway} {
				if got := errors.Is(err, sentinel); got != (sentinel == want) { //nolint:errorlint // each of the two
					t.Errorf("%v: is %q %v, want %v", err, sentinel, got, !got)
				}
			}
		})
	}
}

func TestReady(t *testing.T) {
	wanted := []string{"a", "b", "app.deadletter"}
	for _, c := range []struct{ subscribed, missing string }{
		{"pubsub/a pubsub/b pubsub/app.deadletter", ""},
		{"pubsub/other pubsub/app.deadletter pubsub/b pubsub/a", ""},
		{"pubsub/a pubsub/a pubsub/c", "b, app.deadletter"}, // as many as wanted
		{"pubsub/a other/b pubsub/app.deadletter", "b"},
		{"", "a, b, app.deadletter"},
	} {
		err := serve(t, &daprd{subscriptions: strings.Fields(c.subscribed)}).Ready(t.Context(), wanted)
		if (err == nil) != (c.missing == "") || err != nil && !strings.HasSuffix(err.Error(), " has not subscribed to "+c.missing) {
			t.Errorf("subscribed to %q: %v, want %q to be missing", c.subscribed, err, c.missing)
		}
	}
	if err := serve(t, &daprd{err: status.Error(codes.Unavailable, "x")}).Ready(t.Context(), nil); err == nil {
		t.Error("ready though daprd answers with an error")
	}
	nobody, err := sidecar.Dial("127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	if err := nobody.Ready(t.Context(), nil); err == nil {
		t.Error("ready without a daprd")
	}
}
