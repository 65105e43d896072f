package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/host"
	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/transport"
)

// movableProcess runs services that may be moved, and returns their settings and the
// process's end.
func movableProcess(t *testing.T, specs []service.Spec, line string) (env map[string]string, ended chan error) {
	t.Helper()
	free := func() string { return servicetest.FreeAddr(t) }
	env = map[string]string{
		"QUADRILLE_BRIDGE": "on", "QUADRILLE_SHARE_PORTS": "on", "QUADRILLE_BRIDGE_ADMIN_ADDR": free(), "QUADRILLE_BRIDGE_GRPC_ADDR": free(),
		"QUADRILLE_BRIDGE_ADMIN_TOKEN": "bridge-token", "APP_API_TOKEN": "app", "DAPR_API_TOKEN": "dapr",
	}
	for _, spec := range specs {
		database, prefix := pgtest.New(t), "QUADRILLE_"+strings.ToUpper(spec.Name)
		database.Migrate(t, spec.Migrations, spec.Grants)
		env[prefix+"_DATABASE_URL"], env[prefix+"_ADMIN_TOKEN"] = database.Runtime, "admin-token"
		for _, addr := range []string{"_HTTP_ADDR", "_ADMIN_ADDR", "_HEALTH_ADDR"} {
			env[prefix+addr] = free()
		}
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	ctx, cancel := context.WithCancel(context.Background())
	running, log := make(chan struct{}), new(bytes.Buffer)
	ended = make(chan error, 1)
	go func() {
		code := host.Command(ctx, specs, strings.Fields(line), lookup, io.Discard, writer(func(entry string) {
			log.WriteString(entry)
			if strings.Contains(entry, `"msg":"running"`) {
				close(running)
			}
		}))
		if code != 0 {
			t.Errorf("exit code %d\n%s", code, log)
		}
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-running:
	case <-ended:
		t.Fatal("it did not start")
	}
	return env, ended
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask returns the status, or 0 where nobody answers, the body and the header.
func ask(t *testing.T, method, url, token, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func withRoutes(specs []service.Spec) []service.Spec {
	for i := range specs {
		specs[i].Build = func(*service.Kit) service.App {
			return service.App{Routes: func(r chi.Router) {
				r.Get("/v1/x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
			}}
		}
	}
	return specs
}

// A service leaves the process while the others run, and comes back, as often as one likes.
func TestServicesAreMovedByTheBridge(t *testing.T) {
	specs := withRoutes(named("order", "payment", "stays", "asks"))
	specs[0].Calls = []string{"/quadrille.price.v1.Prices/Commit"} // which is not installed
	specs[3].Calls = []string{"/quadrille.payment.v1.Payments/List"}
	specs[2].Workflows = func(transport.Member) (transport.Engine, error) { return idle{}, nil }
	env, _ := movableProcess(t, specs, "run")
	bridge, order := "http://"+env["QUADRILLE_BRIDGE_ADMIN_ADDR"], "http://"+env["QUADRILLE_ORDER_HTTP_ADDR"]+"/v1/x"
	move := func(name, place string) (int, string) {
		status, body, _ := ask(t, http.MethodPut, bridge+"/services/"+name+"/place", "bridge-token", `{"place":"`+place+`"}`)
		return status, body
	}
	for _, token := range []string{"", "admin-token"} {
		if status, body, _ := ask(t, http.MethodGet, bridge+"/services", token, ""); status != http.StatusUnauthorized {
			t.Errorf("with the token %q: %d %s", token, status, body)
		}
	}
	for range 2 {
		for _, step := range []struct {
			name, place string
			status      int
			says        string
			answers     bool // order, afterwards
		}{
			{"unheard", "outside", http.StatusNotFound, "unknown_service", true},
			{"order", "away", http.StatusBadRequest, "must be inside, both or outside", true},
			{"stays", "both", http.StatusConflict, "workflows", true},
			{"asks", "both", http.StatusConflict, "it calls payment", true},
			{"order", "outside", http.StatusConflict, "move it to both first", true},
			{"order", "inside", http.StatusOK, "", true},
			{"order", "both", http.StatusOK, "", true},
			{"order", "outside", http.StatusOK, "", false},
			{"order", "outside", http.StatusOK, "", false},
			{"order", "inside", http.StatusConflict, "move it to both first", false},
			{"order", "both", http.StatusOK, "", true},
			{"order", "inside", http.StatusOK, "", true},
		} {
			status, body := move(step.name, step.place)
			if status != step.status || !strings.Contains(body, step.says) {
				t.Errorf("%s to %s: %d %s, want %d", step.name, step.place, status, body, step.status)
			}
			if status, body, _ := ask(t, http.MethodGet, order, "", ""); (status == http.StatusOK) != step.answers {
				t.Errorf("order answers %d %s after %v", status, body, step)
			}
			if status, _, _ := ask(t, http.MethodGet, "http://"+env["QUADRILLE_PAYMENT_HTTP_ADDR"]+"/v1/x", "", ""); status != http.StatusOK {
				t.Errorf("payment answers %d after %v", status, step)
			}
		}
	}
	_, body, _ := ask(t, http.MethodGet, bridge+"/services", "bridge-token", "")
	var places host.Places
	if err := json.Unmarshal([]byte(body), &places); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(places.Bridge, "sidecar") || len(places.Services) != 4 || places.Services[2].Fixed == "" || strings.Contains(body, "null") {
		t.Errorf("without a sidecar the bridge says %s", body)
	}
}

// What the process does not run, and could, is outside; it comes in later.
func TestServicesThatAreOutsideAtTheStart(t *testing.T) {
	specs := withRoutes(named("order", "payment"))
	env, _ := movableProcess(t, specs, "run payment")
	bridge := "http://" + env["QUADRILLE_BRIDGE_ADMIN_ADDR"]
	_, body, _ := ask(t, http.MethodGet, bridge+"/services", "bridge-token", "")
	var places host.Places
	if err := json.Unmarshal([]byte(body), &places); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(places.Services, func(s host.PlacedState) bool { return s.Name == "order" }); i < 0 || places.Services[i].Place != inprocess.Outside {
		t.Errorf("the places are %s", body)
	}
	// Another process has its ports until it is back, as that of a service outside has.
	other, err := service.Listen(t.Context(), env["QUADRILLE_ORDER_HEALTH_ADDR"], true)
	if err != nil {
		t.Fatal(err)
	}
	status, body, _ := ask(t, http.MethodPut, bridge+"/services/order/place", "bridge-token", `{"place":"both"}`)
	_ = other.Close()
	if status != http.StatusOK {
		t.Fatalf("order does not start beside another: %d %s", status, body)
	}
	if status, body, header := ask(t, http.MethodGet, "http://"+env["QUADRILLE_ORDER_HEALTH_ADDR"]+"/readyz", "", ""); status != http.StatusOK || header.Get("Quadrille-Pid") == "" {
		t.Errorf("order is not ready: %d %s %v", status, body, header)
	}
}

// Ports are shared only where that is asked for: otherwise a conflict would be hidden.
func TestPortsAreNotSharedUnlessBothWant(t *testing.T) {
	for _, c := range []struct{ first, second, works bool }{{true, true, true}, {false, true, false}, {true, false, false}} {
		first, err := service.Listen(t.Context(), "127.0.0.1:0", c.first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := service.Listen(t.Context(), first.Addr().String(), c.second)
		if (err == nil) != c.works {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			_ = second.Close()
		}
		_ = first.Close()
	}
}

// idle is a workflow engine with nothing to do.
type idle struct{ transport.Engine }

func (idle) Run(ctx context.Context) error { <-ctx.Done(); return nil }
