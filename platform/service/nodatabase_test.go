package service_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/host"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
)

// bare is a service without a database.
func bare() service.Spec {
	return service.Spec{
		Name: "bare", Port: 18400, Paths: []string{"/v1/bare"},
		Build: func(kit *service.Kit) service.App {
			return service.App{Routes: func(r chi.Router) {
				r.Get("/v1/bare", kit.API.Handle(func(w http.ResponseWriter, _ *http.Request) error {
					return rest.Write(w, http.StatusOK, kit.Pool == nil && kit.Outbox == nil)
				}))
			}}
		},
	}
}

// It starts without one, answers, is ready, and has nothing to park.
func TestAServiceWithoutADatabaseRuns(t *testing.T) {
	d := startDaprd(t)
	none := []string{}
	d.subscribed.Store(&none)
	env := environment(t, d)
	delete(env, "QUADRILLE_DATABASE_URL")
	r := start(t, bare(), env)
	r.eventually("/readyz", http.StatusOK)
	if status, body, err := get(env["QUADRILLE_HTTP_ADDR"], "/v1/bare", ""); err != nil || status != http.StatusOK || body != "true\n" {
		t.Errorf("its route answers %d %s, %v", status, body, err)
	}
	if body := r.health("/metrics", http.StatusOK); !strings.Contains(body, `quadrille_http_request_seconds_count{service="bare",status="2xx"} 1`) {
		t.Errorf("its answer is not among the metrics %s", body)
	}
	if body := r.health("/metrics", http.StatusOK); !strings.Contains(body, "quadrille_http_connections") || strings.Contains(body, "outbox") {
		t.Errorf("its metrics are %s", body)
	}
	if body := r.admin(http.MethodGet, "/parked", adminToken, http.StatusNotFound); !strings.Contains(body, "no_such_route") {
		t.Errorf("parked events: %s", body)
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// `migrate` of a program that has it does what there is to do: nothing.
func TestAServiceWithoutADatabaseMigratesNothing(t *testing.T) {
	var out log
	if code := host.Command(context.Background(), []service.Spec{bare()}, []string{"migrate"}, lookup(nil), &out, &out); code != 0 {
		t.Errorf("migrate ends with %d: %s", code, out.String())
	}
}
