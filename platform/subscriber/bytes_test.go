package subscriber_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/subscriber"
)

// slow is a handler that says what it got and goes on when told to.
type slow struct{ entered, release chan struct{} }

func (s slow) Handle(context.Context, []*inbox.Message) error {
	s.entered <- struct{}{}
	<-s.release
	return nil
}

func (s slow) HandleDead(ctx context.Context, batch []*inbox.Message) { _ = s.Handle(ctx, batch) }

// Deliveries that wait for a transaction are held in memory. Their number was
// bounded and their size was not.
func TestDeliveriesTogetherAreBounded(t *testing.T) {
	h := slow{make(chan struct{}), make(chan struct{})}
	server := subscriber.NewGRPC(subscriber.Config{
		App: "order", Topics: []string{topic}, Token: token, Handler: h, MaxBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }()
	defer server.Stop()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	daprd := runtimev1.NewAppCallbackClient(conn)

	var underWay sync.WaitGroup
	defer underWay.Wait()
	begin := func(topic string, size int) {
		t.Helper()
		underWay.Go(func() {
			res, err := daprd.OnBulkTopicEvent(authenticated(t), bulk(topic, bytes.Repeat([]byte("x"), size)))
			if err != nil || res.GetStatuses()[0].GetStatus() != success {
				t.Errorf("a delivery of %d bytes: %v, %v", size, res, err)
			}
		})
		<-h.entered
	}
	refused := func(topic string, size int) {
		t.Helper()
		if _, err := daprd.OnBulkTopicEvent(authenticated(t), bulk(topic, make([]byte, size))); status.Code(err) != codes.Unavailable {
			t.Errorf("a delivery of %d bytes beyond the bound: %v, want Unavailable, which comes again", size, err)
		}
		_, err := daprd.OnTopicEvent(authenticated(t), &runtimev1.TopicEventRequest{Topic: topic, Data: make([]byte, size)})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("a single event of %d bytes beyond the bound: %v", size, err)
		}
	}

	begin(topic, 600_000)
	begin("another", 300_000)
	refused(topic, 200_000)
	refused("order.deadletter", 200_000)
	begin(topic, 1_000) // a small one fits beside them
	for range 3 {
		h.release <- struct{}{}
	}
	underWay.Wait()

	begin(topic, 3<<20) // larger than the bound, and alone
	refused("another", 1)
	h.release <- struct{}{}
	underWay.Wait()
	begin("another", 1)
	h.release <- struct{}{}
}
