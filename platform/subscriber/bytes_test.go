package subscriber_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
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
		App: "order", Topics: []string{topic}, Token: token, Handler: h, MaxBytes: 1 << 20, MaxWait: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	daprd := runtimev1.NewAppCallbackClient(connect(t, server))

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

// sized is a handler that says how much it got and goes on when told to.
type sized struct {
	entered chan int
	release chan struct{}
}

func (s sized) Handle(_ context.Context, batch []*inbox.Message) error {
	s.entered <- len(batch[0].Payload)
	<-s.release
	return nil
}

func (s sized) HandleDead(context.Context, []*inbox.Message) {}

// Small deliveries went past a large one for as long as they came.
func TestALargeDeliveryGetsItsTurn(t *testing.T) {
	const small, large = 100_000, 900_000
	h := sized{make(chan int), make(chan struct{})}
	server := subscriber.NewGRPC(subscriber.Config{
		App: "order", Topics: []string{topic}, Token: token, Handler: h, MaxBytes: 1 << 20, MaxWait: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
	conn := connect(t, server)
	daprd := runtimev1.NewAppCallbackClient(conn)
	var underWay sync.WaitGroup
	begin := func(size int) {
		underWay.Go(func() {
			if _, err := daprd.OnBulkTopicEvent(authenticated(t), bulk(topic, make([]byte, size))); err != nil {
				t.Errorf("a delivery of %d bytes: %v", size, err)
			}
		})
	}
	ended := make(chan struct{})
	begin(small)
	<-h.entered
	begin(small)
	<-h.entered
	begin(large)
	for range 100 { // it has come by then
		if _, err := runtimev1.NewAppCallbackHealthCheckClient(conn).HealthCheck(t.Context(), &emptypb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	go func() { underWay.Wait(); close(ended) }()
	for round := 0; ; round++ {
		begin(small)
		h.release <- struct{}{}
		if <-h.entered == large {
			break
		}
		if round == 1_000 {
			t.Error("small deliveries went past a large one a thousand times")
			break
		}
	}
	for {
		select {
		case h.release <- struct{}{}:
		case <-h.entered:
		case <-ended:
			return
		}
	}
}

// daprd gives up waiting before the transaction that holds the payloads has ended.
func TestADeliveryCountsUntilItIsHandled(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	in, _ := startInbox(t, func(context.Context, *outbox.Tx, []inbox.Delivery) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	server := subscriber.NewGRPC(subscriber.Config{
		App: "order", Topics: []string{topic}, Token: token, Handler: in, MaxBytes: 1, MaxWait: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	daprd := runtimev1.NewAppCallbackClient(connect(t, server))
	defer close(release)
	deliver := func(ctx context.Context) error {
		_, payload := event(t)
		_, err := daprd.OnTopicEvent(ctx, &runtimev1.TopicEventRequest{Topic: topic, Data: payload})
		return err
	}
	ctx, giveUp := context.WithCancel(authenticated(t))
	go func() { <-entered; giveUp() }()
	if err := deliver(ctx); status.Code(err) != codes.Canceled {
		t.Fatalf("given up: %v", err)
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(authenticated(t), time.Minute)
		err := deliver(ctx)
		cancel()
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("a delivery beside one that is being handled: %v, want Unavailable", err)
		}
	}
}

// A caller without the token may not even have its message read.
func TestATokenIsCheckedBeforeTheMessageIsRead(t *testing.T) {
	conn := dial(t, slow{})
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "dapr-api-token", "wrong"), time.Minute)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, runtimev1.AppCallback_OnBulkTopicEvent_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&runtimev1.TopicEventBulkResponse{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("answered %v before there is a message, want Unauthenticated", err)
	}
}
