package service_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/host"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const (
	topic      = payment.TypeCompleted
	appToken   = "app-token"
	daprToken  = "dapr-token"
	adminToken = "admin-token"
)

// daprd stands for the sidecar: it subscribes, and takes what is published.
type daprd struct {
	runtimev1.UnimplementedDaprServer
	port   string
	stop   func()
	events chan *runtimev1.BulkPublishRequestEntry
	// subscribed lists the topics; nil stands for all that the service wants.
	subscribed atomic.Pointer[[]string]
}

func startDaprd(t testing.TB) *daprd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &daprd{events: make(chan *runtimev1.BulkPublishRequestEntry, 100)}
	_, d.port, _ = net.SplitHostPort(ln.Addr().String())
	server := grpc.NewServer()
	runtimev1.RegisterDaprServer(server, d)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	d.stop = sync.OnceFunc(func() { server.Stop(); <-served })
	t.Cleanup(d.stop)
	return d
}

func (d *daprd) GetMetadata(context.Context, *runtimev1.GetMetadataRequest) (*runtimev1.GetMetadataResponse, error) {
	topics := []string{topic, "order.deadletter"}
	if some := d.subscribed.Load(); some != nil {
		topics = *some
	}
	resp := &runtimev1.GetMetadataResponse{}
	for _, t := range topics {
		resp.Subscriptions = append(resp.Subscriptions, &runtimev1.PubsubSubscription{PubsubName: "pubsub", Topic: t})
	}
	return resp, nil
}

func (d *daprd) BulkPublishEvent(_ context.Context, req *runtimev1.BulkPublishRequest) (*runtimev1.BulkPublishResponse, error) {
	for _, e := range req.GetEntries() {
		d.events <- e
	}
	return &runtimev1.BulkPublishResponse{}, nil
}

func confirm(tx *outbox.Tx, trace string, orderID uuid.UUID) error {
	return tx.Emit(trace, order.Confirmed{
		OfOrder: events.OfOrder{OrderID: orderID}, CustomerID: "c", Total: events.Money{Currency: "GBP"},
	})
}

// spec is a service that confirms what is paid. Its route says that it was
// entered and waits for its release, then confirms an order too.
func spec(entered, release chan struct{}) service.Spec {
	return service.Spec{
		Name: "order", Migrations: pgtest.None, Port: 18400, Emits: []string{order.TypeConfirmed}, Hears: []string{topic},
		Build: func(kit *service.Kit) service.App {
			kit.Config.Duration("ORDER_TTL", time.Minute)
			return service.App{
				Handle: func(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
					for _, d := range batch {
						if err := confirm(tx, d.Trace, events.OrderOf(d.Event)); err != nil {
							return err
						}
					}
					return nil
				},
				Routes: func(r chi.Router) {
					r.Get("/v1/wait", kit.API.Handle(func(w http.ResponseWriter, r *http.Request) error {
						entered <- struct{}{}
						<-release
						err := kit.Outbox.InTx(r.Context(), func(_ context.Context, tx *outbox.Tx) error {
							return confirm(tx, "", uuid.Must(uuid.NewV7()))
						})
						if err != nil {
							return err
						}
						return rest.Write(w, http.StatusOK, "done")
					}))
				},
				Work: []service.Work{{Name: "sweeper", Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}},
			}
		},
	}
}

// migrated returns the URL of the service's role on a database that is up to date.
func migrated(t testing.TB) string {
	t.Helper()
	database := pgtest.New(t)
	database.Migrate(t, pgtest.None)
	return database.Runtime
}

func environment(t testing.TB, d *daprd) map[string]string {
	t.Helper()
	return map[string]string{
		"QUADRILLE_HTTP_ADDR": servicetest.FreeAddr(t), "QUADRILLE_GRPC_ADDR": servicetest.FreeAddr(t), "QUADRILLE_ADMIN_ADDR": servicetest.FreeAddr(t), "QUADRILLE_HEALTH_ADDR": servicetest.FreeAddr(t),
		"QUADRILLE_DATABASE_URL": migrated(t), "DAPR_GRPC_PORT": d.port,
		"APP_API_TOKEN": appToken, "DAPR_API_TOKEN": daprToken, "QUADRILLE_ADMIN_TOKEN": adminToken,
	}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

// running is a service under test.
type running struct {
	*testing.T
	env    map[string]string
	cancel context.CancelFunc
	ended  chan error
	log    *log
}

func start(t *testing.T, s service.Spec, env map[string]string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{T: t, env: env, cancel: cancel, ended: make(chan error, 1), log: new(log)}
	go func() {
		defer close(r.ended)
		r.ended <- host.Run(ctx, []service.Spec{s}, lookup(env), r.log)
	}()
	t.Cleanup(func() {
		cancel()
		for range r.ended { // wait for its end, unless the test has
		}
		if t.Failed() {
			t.Logf("log of the service:\n%s", r.log)
		}
	})
	return r
}

// eventually polls the health port until it answers with the status.
func (r *running) eventually(path string, status int) {
	r.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		if got, _, err := get(r.env["QUADRILLE_HEALTH_ADDR"], path, ""); err == nil && got == status {
			return
		}
		select {
		case err := <-r.ended:
			r.Fatalf("the service ended: %v", err)
		case <-tick.C:
		case <-deadline:
			r.Fatalf("%s does not answer %d", path, status)
		}
	}
}

// untilRefused polls until nothing listens any more on the address of a setting.
func (r *running) untilRefused(setting string) {
	r.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		conn, err := net.Dial("tcp", r.env[setting])
		if err != nil {
			return
		}
		_ = conn.Close()
		select {
		case <-tick.C:
		case <-deadline:
			r.Fatalf("%s is still listened on", setting)
		}
	}
}

// admin requests from the admin port and returns the body.
func (r *running) admin(method, path, token string, status int) string {
	r.Helper()
	got, body, err := request(method, r.env["QUADRILLE_ADMIN_ADDR"], path, token)
	if err != nil || got != status {
		r.Errorf("%s %s answered %d, %v, want %d: %s", method, path, got, err, status, body)
	}
	return body
}

// health requests from the health port and returns the body.
func (r *running) health(path string, status int) string {
	r.Helper()
	got, body, err := get(r.env["QUADRILLE_HEALTH_ADDR"], path, "")
	if err != nil || got != status {
		r.Errorf("GET %s answered %d, %v, want %d: %s", path, got, err, status, body)
	}
	return body
}

// deliver delivers one payload as daprd does.
func (r *running) deliver(payload []byte) *runtimev1.TopicEventBulkResponse {
	r.Helper()
	conn, err := grpc.NewClient(r.env["QUADRILLE_GRPC_ADDR"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	resp, err := runtimev1.NewAppCallbackClient(conn).OnBulkTopicEvent(
		metadata.AppendToOutgoingContext(r.Context(), "dapr-api-token", appToken),
		&runtimev1.TopicEventBulkRequest{Topic: topic, Entries: []*runtimev1.TopicEventBulkRequestEntry{
			{EntryId: "1", Event: &runtimev1.TopicEventBulkRequestEntry_Bytes{Bytes: payload}},
		}})
	if err != nil {
		r.Fatal(err)
	}
	return resp
}

// stop ends the service and returns what Run returned.
func (r *running) stop() error {
	r.Helper()
	began := time.Now()
	r.cancel()
	err := <-r.ended
	if took := time.Since(began); took > 30*time.Second {
		r.Errorf("stopping took %v", took)
	}
	return err
}

func get(addr, path, token string) (int, string, error) {
	return request(http.MethodGet, addr, path, token)
}

func request(method, addr, path, token string) (int, string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	req, err := http.NewRequest(method, "http://"+addr+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func paid(t *testing.T) (orderID uuid.UUID, raw []byte) {
	t.Helper()
	e := payment.Completed{
		OfOrder:  events.OfOrder{OrderID: uuid.Must(uuid.NewV7())},
		ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	}
	raw, err := events.Encode(uuid.Must(uuid.NewV7()), "payment", time.Now(), "", e)
	if err != nil {
		t.Fatal(err)
	}
	return e.OrderID, raw
}

// log keeps what the service logs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strconv.Itoa(l.b.Len()) + " bytes\n" + l.b.String()
}
