// Package subscriber is the gRPC endpoint that daprd delivers events to. The
// callback service is implemented directly: the go-sdk has no bulk subscribe,
// and no panic or stray status code may ever read as an acknowledgement.
package subscriber

import (
	"cmp"
	"context"
	"crypto/subtle"
	"log/slog"
	"slices"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/types/known/emptypb"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/transport"
)

const (
	pubsub = "pubsub"
	// BulkSize and BulkWait bound what daprd delivers at once. A daprd that flushes
	// at once takes the first alone; for the others the wait is a timer.
	BulkSize = 200
	BulkWait = 5 * time.Millisecond

	// maxMessage is what one delivery may hold, as daprd's maxBodySize has it (a larger
	// one would come for ever), maxInFlight what all deliveries under way may: several
	// topics deliver at once. A delivery waits for maxWait until there is room.
	maxMessage  = 32 << 20
	maxInFlight = 32 << 20
	maxWait     = 5 * time.Second
	// Bounds for a port that one sidecar uses, with a connection or two. A message is
	// read whole before it is counted, so streams bound memory too: a few deliveries of
	// each topic, and as many calls of other apps.
	streamsPerTopic = 4
	streamsForCalls = 48
	// streamsForHTTP are connections, whose number the HTTP server bounds.
	streamsForHTTP = 2_048
	maxHeader      = 64 << 10
	connectTimeout = 5 * time.Second
)

// Config of a Server.
type Config struct {
	// App is the Dapr app id.
	App string
	// Topics are subscribed to.
	Topics []string
	// Token is what daprd proves itself with, or "" for no check.
	Token   string
	Handler transport.Handler
	// MaxBytes bounds the payloads under way; beyond it deliveries wait for their turn,
	// then they are refused, which has daprd deliver them again. 0 means 32 MiB.
	MaxBytes int64
	// MaxWait is how long a delivery waits for its turn; 0 means 5 s.
	MaxWait time.Duration
	// Register adds the app's own gRPC services, which other apps call through the
	// sidecars, or is nil.
	Register func(grpc.ServiceRegistrar)
	// HTTP takes the connections that other apps open through the sidecars, or is nil.
	HTTP *httpcall.Listener
	Log  *slog.Logger
}

// Server answers daprd's callbacks.
type Server struct {
	runtimev1.UnimplementedAppCallbackServer
	runtimev1.UnimplementedAppCallbackHealthCheckServer
	cfg   Config
	bytes *semaphore.Weighted // has MaxBytes
}

// NewGRPC returns a gRPC server with the callbacks registered.
func NewGRPC(cfg Config) *transport.Server {
	cfg.MaxBytes, cfg.MaxWait = cmp.Or(cfg.MaxBytes, maxInFlight), cmp.Or(cfg.MaxWait, maxWait)
	s := &Server{cfg: cfg, bytes: semaphore.NewWeighted(cfg.MaxBytes)}
	// To a callback that panics daprd gets Internal too, and delivers again.
	g := transport.NewServer(cfg.Log, grpc.InTapHandle(s.admit),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(filters.Not(filters.Any(
			filters.ServicePrefix("dapr."), filters.FullMethodName(httpcall.Method)))))), // a connection is no step of a trace
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(s.maxStreams()),
		grpc.MaxHeaderListSize(maxHeader), grpc.ConnectionTimeout(connectTimeout))
	runtimev1.RegisterAppCallbackServer(g, s)
	runtimev1.RegisterAppCallbackHealthCheckServer(g, s)
	if cfg.Register != nil {
		cfg.Register(g)
	}
	if cfg.HTTP != nil {
		httpcall.Register(g, cfg.HTTP)
	}
	return g
}

// tokenless are the calls that daprd (1.18) makes without the app's token. They
// tell and change nothing of worth.
var tokenless = map[string]bool{
	runtimev1.AppCallback_ListTopicSubscriptions_FullMethodName: true,
	runtimev1.AppCallbackHealthCheck_HealthCheck_FullMethodName: true,
}

func (s *Server) maxStreams() uint32 {
	streams := streamsForCalls + streamsPerTopic*len(Subscribed(s.cfg.App, s.cfg.Topics))
	if s.cfg.HTTP != nil {
		streams += streamsForHTTP
	}
	return uint32(streams) //nolint:gosec // a few topics
}

// admit checks the token before the message is read. It runs on the connection's
// goroutine and must not block.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !tokenless[info.FullMethodName] && !s.authentic(info.Header) {
		return ctx, status.Error(codes.Unauthenticated, "dapr-api-token is missing or wrong; daprd and app need the same APP_API_TOKEN")
	}
	return ctx, nil
}

func (s *Server) authentic(header metadata.MD) bool {
	if s.cfg.Token == "" {
		return true
	}
	for _, v := range header.Get("dapr-api-token") {
		if subtle.ConstantTimeCompare([]byte(v), []byte(s.cfg.Token)) == 1 {
			return true
		}
	}
	return false
}

func (s *Server) deadLetter() string { return DeadLetter(s.cfg.App) }

// DeadLetter is the topic of what an app's sidecar gives up on.
func DeadLetter(app string) string { return app + ".deadletter" }

// Subscribed returns all topics that daprd is told to subscribe to for an app that
// handles topics.
func Subscribed(app string, topics []string) []string {
	if len(topics) == 0 {
		return nil
	}
	return append(slices.Clone(topics), DeadLetter(app))
}

// ListTopicSubscriptions tells daprd what to subscribe to. Payloads are raw,
// since they are complete CloudEvents that the inbox decodes once.
func (s *Server) ListTopicSubscriptions(context.Context, *emptypb.Empty) (*runtimev1.ListTopicSubscriptionsResponse, error) {
	var subs []*runtimev1.TopicSubscription
	add := func(topic, deadLetter string) {
		subs = append(subs, &runtimev1.TopicSubscription{
			PubsubName: pubsub, Topic: topic, DeadLetterTopic: deadLetter,
			Metadata: map[string]string{"rawPayload": "true"},
			BulkSubscribe: &runtimev1.BulkSubscribeConfig{
				Enabled: true, MaxMessagesCount: BulkSize, MaxAwaitDurationMs: int32(BulkWait / time.Millisecond),
			},
		})
	}
	for _, topic := range Subscribed(s.cfg.App, s.cfg.Topics) {
		if topic == s.deadLetter() {
			add(topic, "")
		} else {
			add(topic, s.deadLetter())
		}
	}
	return &runtimev1.ListTopicSubscriptionsResponse{Subscriptions: subs}, nil
}

// OnBulkTopicEvent handles a batch of one topic.
func (s *Server) OnBulkTopicEvent(ctx context.Context, req *runtimev1.TopicEventBulkRequest) (*runtimev1.TopicEventBulkResponse, error) {
	batch := make([]*inbox.Message, len(req.GetEntries()))
	for i, e := range req.GetEntries() {
		batch[i] = &inbox.Message{Topic: req.GetTopic(), Payload: e.GetBytes()}
	}
	if err := s.deliver(ctx, req.GetTopic(), batch); err != nil {
		return nil, err
	}
	statuses := make([]*runtimev1.TopicEventBulkResponseEntry, len(batch))
	for i, e := range req.GetEntries() {
		statuses[i] = &runtimev1.TopicEventBulkResponseEntry{EntryId: e.GetEntryId(), Status: answer(batch[i])}
	}
	return &runtimev1.TopicEventBulkResponse{Statuses: statuses}, nil
}

// OnTopicEvent handles a single event, as a broker component without bulk
// delivery would send it. daprd puts a raw payload into the data.
func (s *Server) OnTopicEvent(ctx context.Context, req *runtimev1.TopicEventRequest) (*runtimev1.TopicEventResponse, error) {
	m := &inbox.Message{Topic: req.GetTopic(), Payload: req.GetData()}
	if err := s.deliver(ctx, req.GetTopic(), []*inbox.Message{m}); err != nil {
		return nil, err
	}
	return &runtimev1.TopicEventResponse{Status: answer(m)}, nil
}

// deliver returns an error only with a code that daprd retries.
func (s *Server) deliver(ctx context.Context, topic string, batch []*inbox.Message) error {
	var size int64
	for _, m := range batch {
		size += int64(len(m.Payload))
	}
	// One that is larger than the bound waits until it is alone.
	size = min(size, s.cfg.MaxBytes)
	if err := s.takeTurn(ctx, size); err != nil {
		s.cfg.Log.WarnContext(ctx, "too many bytes of events under way, daprd will deliver again",
			"topic", topic, "events", len(batch), "bytes", size, "err", err)
		return status.Error(codes.Unavailable, "too many bytes of events are under way; deliver again")
	}
	defer s.bytes.Release(size)
	if topic == s.deadLetter() {
		s.cfg.Handler.HandleDead(ctx, batch)
		return nil
	}
	// daprd may give up earlier, but the payloads are in use until the handler is done.
	if err := s.cfg.Handler.Handle(context.WithoutCancel(ctx), batch); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return nil
}

// takeTurn waits for room, first come first served, so that small deliveries do not
// pass a large one for ever.
func (s *Server) takeTurn(ctx context.Context, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.MaxWait)
	defer cancel()
	return s.bytes.Acquire(ctx, size)
}

func answer(m *inbox.Message) runtimev1.TopicEventResponse_TopicEventResponseStatus {
	if m.Verdict == inbox.Again {
		return runtimev1.TopicEventResponse_RETRY
	}
	return runtimev1.TopicEventResponse_SUCCESS
}

// HealthCheck answers daprd's app health probe.
func (s *Server) HealthCheck(context.Context, *emptypb.Empty) (*runtimev1.HealthCheckResponse, error) {
	return &runtimev1.HealthCheckResponse{}, nil
}
