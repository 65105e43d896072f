package subscriber_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/sidecar"
	"quadrille.internal/platform/subscriber"
	"quadrille.internal/platform/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token = "app-token"
	topic = payment.TypeCompleted
)

const (
	success = runtimev1.TopicEventResponse_SUCCESS
	retry   = runtimev1.TopicEventResponse_RETRY
)

// dial serves the callbacks and returns what daprd has: a connection to them.
func dial(t *testing.T, handler transport.Handler) *grpc.ClientConn {
	t.Helper()
	return connect(t, subscriber.NewGRPC(subscriber.Config{
		App: "order", Topics: []string{topic, payment.TypeFailed}, Token: token, Handler: handler,
		Log: slog.New(slog.DiscardHandler),
	}))
}

// connect serves on a port of its own until the test ends.
func connect(t *testing.T, server *transport.Server) *grpc.ClientConn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return conn
}

func authenticated(t *testing.T) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "dapr-api-token", token)
}

// startInbox runs an inbox over a database of its own.
func startInbox(t *testing.T, handler inbox.Handler) (*inbox.Inbox, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Open(t, pgtest.None)
	log := slog.New(slog.DiscardHandler)
	nowhere, err := sidecar.Dial("127.0.0.1:1", "") // these handlers publish nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nowhere.Close() })
	in := inbox.New(inbox.Config{
		Consumer: "order", Pool: pool, Handler: handler, Log: log,
		Outbox: outbox.New(outbox.Config{Source: "order", Pool: pool, Publisher: nowhere, Log: log}),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = in.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return in, pool
}

func accept(context.Context, *outbox.Tx, []inbox.Delivery) error { return nil }

func event(t *testing.T) (uuid.UUID, []byte) {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	raw, err := events.Encode(id, "payment", time.Now(), "", payment.Completed{
		OfOrder:  events.OfOrder{OrderID: uuid.Must(uuid.NewV7())},
		ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, raw
}

// bulk makes a bulk delivery whose entries are named "0", "1", ...
func bulk(topic string, payloads ...[]byte) *runtimev1.TopicEventBulkRequest {
	req := &runtimev1.TopicEventBulkRequest{Topic: topic, PubsubName: "pubsub"}
	for i, p := range payloads {
		req.Entries = append(req.Entries, &runtimev1.TopicEventBulkRequestEntry{
			EntryId: string(rune('0' + i)), Event: &runtimev1.TopicEventBulkRequestEntry_Bytes{Bytes: p},
		})
	}
	return req
}

func wantStatuses(t *testing.T, resp *runtimev1.TopicEventBulkResponse, want ...runtimev1.TopicEventResponse_TopicEventResponseStatus) {
	t.Helper()
	got := make([]runtimev1.TopicEventResponse_TopicEventResponseStatus, len(want))
	for i, s := range resp.GetStatuses() {
		if s.GetEntryId() != string(rune('0'+i)) {
			t.Errorf("status %d is of entry %q", i, s.GetEntryId())
		}
		got[i] = s.GetStatus()
	}
	if !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

func TestSubscriptions(t *testing.T) {
	// daprd asks for the list without the app's token.
	list, err := runtimev1.NewAppCallbackClient(dial(t, nil)).ListTopicSubscriptions(t.Context(), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	deadLetters := map[string]string{topic: "order.deadletter", payment.TypeFailed: "order.deadletter", "order.deadletter": ""}
	if n := len(list.GetSubscriptions()); n != len(deadLetters) {
		t.Errorf("%d subscriptions, want %d", n, len(deadLetters))
	}
	for _, s := range list.GetSubscriptions() {
		deadLetter, ok := deadLetters[s.GetTopic()]
		b := s.GetBulkSubscribe()
		if !ok || s.GetDeadLetterTopic() != deadLetter || s.GetPubsubName() != "pubsub" || s.GetMetadata()["rawPayload"] != "true" ||
			!b.GetEnabled() || b.GetMaxMessagesCount() != 200 || b.GetMaxAwaitDurationMs() <= 0 {
			t.Errorf("subscription %v", s)
		}
	}
}

func TestEventsNeedTheToken(t *testing.T) {
	in, pool := startInbox(t, accept)
	client := runtimev1.NewAppCallbackClient(dial(t, in))
	_, raw := event(t)
	for name, ctx := range map[string]context.Context{
		"no token":    t.Context(),
		"wrong token": metadata.AppendToOutgoingContext(t.Context(), "dapr-api-token", "guess"),
		"empty token": metadata.AppendToOutgoingContext(t.Context(), "dapr-api-token", ""),
	} {
		if _, err := client.OnBulkTopicEvent(ctx, bulk(topic, raw)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: bulk delivery answered %v, want Unauthenticated", name, err)
		}
		if _, err := client.OnTopicEvent(ctx, &runtimev1.TopicEventRequest{Topic: topic, Data: raw}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: delivery answered %v, want Unauthenticated", name, err)
		}
	}
	if n := count(t, pool, "inbox"); n != 0 {
		t.Errorf("%d events were handled", n)
	}
	resp, err := client.OnBulkTopicEvent(authenticated(t), bulk(topic, raw))
	if err != nil {
		t.Fatal(err)
	}
	wantStatuses(t, resp, success)
}

func TestBulkDelivery(t *testing.T) {
	broken := true
	in, pool := startInbox(t, func(context.Context, *outbox.Tx, []inbox.Delivery) error {
		if broken {
			return context.DeadlineExceeded // something it needs is away
		}
		return nil
	})
	client := runtimev1.NewAppCallbackClient(dial(t, in))
	_, a := event(t)
	_, b := event(t)
	resp, err := client.OnBulkTopicEvent(authenticated(t), bulk(topic, a, []byte("rubbish"), b))
	if err != nil {
		t.Fatal(err)
	}
	wantStatuses(t, resp, retry, success, retry) // rubbish is parked
	broken = false
	if resp, err = client.OnBulkTopicEvent(authenticated(t), bulk(topic, a, b, a)); err != nil {
		t.Fatal(err)
	}
	wantStatuses(t, resp, success, success, success)
	if done, parked := count(t, pool, "inbox"), count(t, pool, "parked"); done != 2 || parked != 1 {
		t.Errorf("%d handled and %d parked, want 2 and 1", done, parked)
	}
	if resp, err = client.OnBulkTopicEvent(authenticated(t), bulk(topic)); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	wantStatuses(t, resp)
}

func TestSingleDelivery(t *testing.T) {
	in, pool := startInbox(t, accept)
	client := runtimev1.NewAppCallbackClient(dial(t, in))
	_, raw := event(t)
	resp, err := client.OnTopicEvent(authenticated(t), &runtimev1.TopicEventRequest{Topic: topic, Data: raw})
	if err != nil || resp.GetStatus() != success || count(t, pool, "inbox") != 1 {
		t.Errorf("answered %v, %v", resp, err)
	}
}

func TestDeadLettersAreParked(t *testing.T) {
	in, _ := startInbox(t, accept)
	client := runtimev1.NewAppCallbackClient(dial(t, in))
	id, raw := event(t)
	resp, err := client.OnBulkTopicEvent(authenticated(t), bulk("order.deadletter", raw))
	if err != nil {
		t.Fatal(err)
	}
	wantStatuses(t, resp, success)
	if p, err := in.GetParked(t.Context(), id); err != nil || p.Topic != topic {
		t.Errorf("parked %+v, %v", p, err)
	}
}

// Whatever goes wrong, the answer must be one that daprd delivers again after:
// it takes Unimplemented for an acknowledgement.
func TestFailuresAreNeverAcknowledged(t *testing.T) {
	ended := inbox.New(inbox.Config{Consumer: "order", Pool: pgtest.Open(t, pgtest.None), Handler: accept, Log: slog.New(slog.DiscardHandler)})
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := ended.Run(stopped); err != nil {
		t.Fatal(err)
	}
	_, raw := event(t)
	for _, c := range []struct {
		name    string
		handler transport.Handler
		want    codes.Code
	}{
		{"an inbox that panics, as one that was never made", new(inbox.Inbox), codes.Internal},
		{"an inbox that has ended", ended, codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := runtimev1.NewAppCallbackClient(dial(t, c.handler))
			if _, err := client.OnBulkTopicEvent(authenticated(t), bulk(topic, raw)); status.Code(err) != c.want {
				t.Errorf("bulk delivery answered %v, want %s", err, c.want)
			}
			if _, err := client.OnTopicEvent(authenticated(t), &runtimev1.TopicEventRequest{Topic: topic, Data: raw}); status.Code(err) != c.want {
				t.Errorf("delivery answered %v, want %s", err, c.want)
			}
		})
	}
}

// Of what daprd 1.18 calls on an app with subscriptions, only ListInputBindings
// is not implemented: it reads an error as no bindings.
func TestWhatDaprdCalls(t *testing.T) {
	conn := dial(t, nil)
	if _, err := runtimev1.NewAppCallbackHealthCheckClient(conn).HealthCheck(t.Context(), &emptypb.Empty{}); err != nil {
		t.Errorf("health check: %v", err)
	}
	client := runtimev1.NewAppCallbackClient(conn)
	if _, err := client.ListInputBindings(t.Context(), &emptypb.Empty{}); err == nil {
		t.Error("there are no input bindings")
	}
}

func count(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select count(*) from `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
