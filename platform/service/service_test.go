package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/host"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestServiceHandlesAndPublishes(t *testing.T) {
	d := startDaprd(t)
	s := start(t, spec(nil, nil), environment(t, d))
	s.eventually("/readyz", http.StatusOK)
	orderID, raw := paid(t)
	for range 2 { // the second is a duplicate
		if got := s.deliver(raw).GetStatuses()[0].GetStatus(); got != runtimev1.TopicEventResponse_SUCCESS {
			t.Errorf("answered %v", got)
		}
	}
	entry := <-d.events
	env, e, err := events.Decode(entry.GetEvent())
	if err != nil {
		t.Fatal(err)
	}
	if env.Type != order.TypeConfirmed || env.Source != "order" || events.OrderOf(e) != orderID || env.TraceParent == "" {
		t.Errorf("published %+v", env)
	}
	for _, want := range []string{ // the last is counted after daprd has the event
		`quadrille_inbox_handled_total{service="order"} 2`, `quadrille_inbox_duplicates_total{service="order"} 1`,
		`quadrille_outbox_published_total{service="order"} 1`,
	} {
		servicetest.Await(t, want+" is among the metrics", func() bool { return strings.Contains(s.health("/metrics", http.StatusOK), want) })
	}
	if err := s.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(d.events) != 0 {
		t.Error("a duplicate had an effect")
	}
}

func TestReadinessFollowsTheSidecar(t *testing.T) {
	d := startDaprd(t)
	s := start(t, spec(nil, nil), environment(t, d))
	s.eventually("/readyz", http.StatusOK)
	d.stop()
	s.eventually("/readyz", http.StatusServiceUnavailable)
	s.health("/healthz", http.StatusOK)
	if body := s.health("/readyz", http.StatusServiceUnavailable); !strings.Contains(body, `"transport"`) {
		t.Errorf("the answer does not name the transport: %s", body)
	}
	if err := s.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestParkedEventsOnTheAdminPort(t *testing.T) {
	s := start(t, spec(nil, nil), environment(t, startDaprd(t)))
	s.eventually("/readyz", http.StatusOK)
	s.deliver([]byte("rubbish"))
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("rubbish")).String()
	var list struct {
		Parked []struct {
			EventID  string `json:"event_id"`
			Attempts int    `json:"attempts"`
			Payload  []byte `json:"payload"`
		} `json:"parked"`
	}
	if err := json.Unmarshal([]byte(s.admin(http.MethodGet, "/parked", adminToken, http.StatusOK)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Parked) != 1 || list.Parked[0].EventID != id || string(list.Parked[0].Payload) != "rubbish" {
		t.Errorf("parked %+v", list)
	}
	s.admin(http.MethodGet, "/parked/"+id, adminToken, http.StatusOK)
	s.admin(http.MethodGet, "/parked?limit=0", adminToken, http.StatusBadRequest)
	s.admin(http.MethodGet, "/parked/17", adminToken, http.StatusBadRequest)
	s.admin(http.MethodGet, "/parked/"+uuid.NewString(), adminToken, http.StatusNotFound)
	s.admin(http.MethodPost, "/parked/"+uuid.NewString()+"/replay", adminToken, http.StatusNotFound)
	if body := s.admin(http.MethodPost, "/parked/"+id+"/replay", adminToken, http.StatusUnprocessableEntity); !strings.Contains(body, "decode envelope") {
		t.Errorf("the operator is not told the cause: %s", body)
	}
	s.admin(http.MethodGet, "/parked?after=1.2", adminToken, http.StatusBadRequest)
	s.admin(http.MethodPost, "/parked/"+id+"/discard", adminToken, http.StatusUnsupportedMediaType)
}

// Many different events that fail make the service unready until one succeeds or an
// operator has them parked.
func TestFailingEventsMakeTheServiceUnready(t *testing.T) {
	s := start(t, spec(nil, nil), environment(t, startDaprd(t)))
	s.eventually("/readyz", http.StatusOK)
	for n := range 5 {
		s.deliver(fmt.Appendf(nil, "rubbish %d", n))
	}
	if body := s.health("/readyz", http.StatusServiceUnavailable); !strings.Contains(body, `"parking_stopped"`) {
		t.Errorf("the answer does not say why: %s", body)
	}
	if body := s.health("/metrics", http.StatusOK); !strings.Contains(body, `quadrille_breaker_state{breaker="parking",service="order"} 2`) {
		t.Error("the metric does not tell")
	}
	if body := s.admin(http.MethodGet, "/parked?limit=2", adminToken, http.StatusOK); !strings.Contains(body, `"stopped":"5 different events`) ||
		!strings.Contains(body, `"next":"`) {
		t.Errorf("the list says neither that parking has stopped nor that there is more: %s", body)
	}
	if body := s.admin(http.MethodPost, "/parked/accept?limit=10", adminToken, http.StatusOK); body != `{"accepted":1}`+"\n" {
		t.Errorf("accept answers %s", body)
	}
	s.deliver([]byte("rubbish 4"))
	s.health("/readyz", http.StatusOK)
}

func TestFlightRecorder(t *testing.T) {
	for setting, status := range map[string]int{"on": http.StatusOK, "off": http.StatusServiceUnavailable} {
		t.Run(setting, func(t *testing.T) {
			env := environment(t, startDaprd(t))
			env["QUADRILLE_FLIGHT"] = setting
			s := start(t, spec(nil, nil), env)
			s.eventually("/healthz", http.StatusOK)
			body := s.admin(http.MethodGet, "/debug/flight", adminToken, status)
			if isTrace := strings.HasPrefix(body, "go 1."); isTrace != (status == http.StatusOK) {
				t.Errorf("answered %.40q", body)
			}
			s.admin(http.MethodGet, "/debug/pprof/goroutine", adminToken, http.StatusOK)
		})
	}
}

// A request that is under way when the end comes is answered, with all that it
// needs still at work: what it commits is published.
func TestStoppingFinishesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	d := startDaprd(t)
	s := start(t, spec(entered, release), environment(t, d))
	s.eventually("/healthz", http.StatusOK)
	answered := make(chan string, 1)
	go func() {
		_, body, err := get(s.env["QUADRILLE_HTTP_ADDR"], "/v1/wait", "")
		if err != nil {
			body = err.Error()
		}
		answered <- body
	}()
	<-entered
	s.cancel()
	s.untilRefused("QUADRILLE_HTTP_ADDR")
	close(release)
	if body := <-answered; body != "\"done\"\n" {
		t.Errorf("answered %s", body)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(d.events) != 1 {
		t.Errorf("%d events published, want the request's one", len(d.events))
	}
}

func TestUnknownRoutesAreProblems(t *testing.T) {
	s := start(t, spec(nil, nil), environment(t, startDaprd(t)))
	s.eventually("/healthz", http.StatusOK)
	for _, addr := range []string{"QUADRILLE_HTTP_ADDR", "QUADRILLE_ADMIN_ADDR", "QUADRILLE_HEALTH_ADDR"} {
		status, body, err := get(s.env[addr], "/nowhere", adminToken)
		if err != nil || status != http.StatusNotFound || !strings.Contains(body, "no_such_route") {
			t.Errorf("%s answered %d %s, %v", addr, status, body, err)
		}
	}
}

func run(t *testing.T, env map[string]string) error {
	t.Helper()
	return host.Run(t.Context(), []service.Spec{spec(nil, nil)}, lookup(env), io.Discard)
}

func TestEveryBadSettingIsNamedAtOnce(t *testing.T) {
	err := run(t, map[string]string{
		"QUADRILLE_HTTP_ADDR": "x", "QUADRILLE_GRPC_ADDR": "y", "QUADRILLE_ADMIN_ADDR": "z", "QUADRILLE_HEALTH_ADDR": "h",
		"QUADRILLE_DATABASE_URL": "postgres://quad:hunter2@host:port/db", "QUADRILLE_DATABASE_CONNS": "-1",
		"DAPR_GRPC_PORT": "grpc", "APP_API_TOKEN_FILE": "/no/such/file", "QUADRILLE_LOG_LEVEL": "loud",
		"QUADRILLE_TRACE_PERCENT": "101", "QUADRILLE_FLIGHT": "yes", "QUADRILLE_LINGER": "-2ms", "QUADRILLE_DRAIN": "a while",
		"ORDER_TTL": "soon", // the service's own
	})
	if err == nil {
		t.Fatal("Run = nil")
	}
	for _, name := range []string{
		"QUADRILLE_HTTP_ADDR", "QUADRILLE_GRPC_ADDR", "QUADRILLE_ADMIN_ADDR", "QUADRILLE_HEALTH_ADDR", "QUADRILLE_DATABASE_URL", "QUADRILLE_DATABASE_CONNS",
		"DAPR_GRPC_PORT", "APP_API_TOKEN_FILE", "QUADRILLE_LOG_LEVEL", "QUADRILLE_TRACE_PERCENT", "QUADRILLE_FLIGHT",
		"QUADRILLE_LINGER", "QUADRILLE_DRAIN", "ORDER_TTL",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is shown:\n%v", err)
	}
	if err := run(t, nil); err == nil || !strings.Contains(err.Error(), "QUADRILLE_DATABASE_URL is not set") {
		t.Errorf("with nothing set Run = %v", err)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	env := environment(t, startDaprd(t))
	for _, name := range []string{"QUADRILLE_HTTP_ADDR", "QUADRILLE_GRPC_ADDR", "QUADRILLE_ADMIN_ADDR", "QUADRILLE_HEALTH_ADDR"} {
		free := env[name]
		env[name] = ln.Addr().String()
		if err := run(t, env); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("Run = %v, want it to name %s", err, name)
		}
		env[name] = free
	}
}

func TestAMissingDatabaseIsNamed(t *testing.T) {
	env := environment(t, startDaprd(t))
	u, err := url.Parse(env["QUADRILLE_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/no_such_database"
	env["QUADRILLE_DATABASE_URL"] = u.String()
	if err := run(t, env); err == nil || !strings.Contains(err.Error(), `"no_such_database"`) {
		t.Errorf("Run = %v", err)
	}
}

// A stop while the database is still awaited is no reason to wait on.
func TestStoppingWhileStarting(t *testing.T) {
	env := environment(t, startDaprd(t))
	env["QUADRILLE_DATABASE_URL"] = "postgres://nobody@" + servicetest.FreeAddr(t) + "/none"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := host.Run(ctx, []service.Spec{spec(nil, nil)}, lookup(env), io.Discard); err == nil {
		t.Error("Run = nil, though it never started")
	}
}

// Replicas that start together all find the schema that they need.
func TestReplicasStartTogether(t *testing.T) {
	d := startDaprd(t)
	database := migrated(t)
	var replicas []*running
	for range 3 {
		env := environment(t, d)
		env["QUADRILLE_DATABASE_URL"] = database
		replicas = append(replicas, start(t, spec(nil, nil), env))
	}
	for _, r := range replicas {
		r.eventually("/readyz", http.StatusOK)
	}
}
