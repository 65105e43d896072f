package stack

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestARelayNeedsItsBroker(t *testing.T) {
	for _, c := range []struct {
		broker, relay string
		ok            bool
	}{
		{Kafka, Debezium, true},
		{Kafka, OutboxRelay, true},
		{Redis, OutboxRelay, true},
		{Redis, Debezium, false},
		{OneProcess, Debezium, false},
		{Kafka, "carrier", false},
	} {
		s, err := New(Options{Dir: t.TempDir(), Broker: c.broker, Relay: c.relay})
		if (err == nil) != c.ok {
			t.Errorf("%s on %s: %v, want ok %v", c.relay, c.broker, err, c.ok)
		}
		if err != nil {
			continue
		}
		for _, app := range s.Apps() {
			told := s.App(app).Env["QUADRILLE_RELAY"] == Debezium
			if want := c.relay == Debezium && slices.Contains(s.WithDatabase(), app); told != want {
				t.Errorf("%s on %s: %s is told of Debezium: %v, want %v", c.relay, c.broker, app, told, want)
			}
		}
	}
}

func TestAStackKeepsItsRelayUntilItIsStopped(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Broker: Kafka, Relay: Debezium})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.claimBroker(), s.claimRelay()); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Dir: s.Dir, PortShift: testShift})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.claimRelay(); err != nil || !again.ByDebezium() {
		t.Errorf("again: %v, by Debezium %v", err, again.ByDebezium())
	}
	other, err := New(Options{Dir: s.Dir, PortShift: testShift, Relay: OutboxRelay})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*EnvironmentError](other.claimRelay()); !ok {
		t.Error("a second relay was taken")
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.claimRelay(); err != nil {
		t.Errorf("once stopped: %v", err)
	}
}

// The password is in a file that the worker reads: connectors' settings lie in a topic.
func TestAConnectorHasNoPassword(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Broker: Kafka, Relay: Debezium})
	if err != nil {
		t.Fatal(err)
	}
	config, err := s.connector("order")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"database.dbname": "order", "slot.name": "outbox_order", "topic.prefix": "order",
		"database.password":           "${file:" + s.secretFile("relay.properties") + ":password}",
		"publication.autocreate.mode": "disabled",
	}
	for name, value := range want {
		if config[name] != value {
			t.Errorf("%s is %q, want %q", name, config[name], value)
		}
	}
}

// quad up may be killed while a connector forgets its position, and is stopped for that. Somebody may
// have paused one, to look: Connect remembers both beyond its end.
func TestAHaltedConnectorIsResumed(t *testing.T) {
	for name, halted := range map[string]string{
		"stopped":              `{"name": "order", "connector": {"state": "STOPPED"}, "tasks": []}`,
		"paused":               `{"name": "order", "connector": {"state": "PAUSED"}, "tasks": [{"id": 0, "state": "PAUSED"}]}`,
		"paused before a task": `{"name": "order", "connector": {"state": "PAUSED"}, "tasks": []}`,
	} {
		t.Run(name, func(t *testing.T) { checkResumed(t, strings.Fields(name)[0], halted) })
	}
}

func checkResumed(t *testing.T, state, halted string) {
	var told []Event
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Broker: Kafka, Relay: Debezium, Report: func(e Event) { told = append(told, e) }})
	if err != nil {
		t.Fatal(err)
	}
	var resumed atomic.Bool
	worker := http.NewServeMux()
	worker.HandleFunc("GET /connectors/order/status", func(w http.ResponseWriter, _ *http.Request) {
		status := halted
		if resumed.Load() {
			status = `{"name": "order", "connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "RUNNING"}]}`
		}
		_, _ = io.WriteString(w, status)
	})
	worker.HandleFunc("PUT /connectors/order/resume", func(w http.ResponseWriter, _ *http.Request) {
		resumed.Store(true)
		w.WriteHeader(http.StatusAccepted)
	})
	ln, err := net.Listen("tcp", s.addr(connectPort))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: worker}}
	server.Start()
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	if err := s.connectorReads(t.Context(), "order"); err == nil || err.Error() != "is "+state {
		t.Errorf("%v, want that it is %s, and that it is resumed", err, state)
	}
	if !resumed.Load() {
		t.Errorf("it stays %s", state)
	}
	if want := []Event{{Part: "connector of order", State: Note, Detail: "was " + state + ", and goes on"}}; !slices.Equal(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}
}
