package service_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/platform/service"
)

// A number of subscriptions proves nothing: the dead-letter topic counts too.
func TestReadinessNamesTheSubscriptionsThatAreMissing(t *testing.T) {
	d := startDaprd(t)
	s := start(t, spec(nil, nil), environment(t, d))
	s.eventually("/readyz", http.StatusOK)
	for _, c := range []struct {
		subscribed []string
		missing    string
	}{
		{[]string{topic}, "order.deadletter"},
		{[]string{"order.deadletter"}, topic},
		{[]string{"order.deadletter", "another"}, topic},
		{nil, topic + ", order.deadletter"},
	} {
		d.subscribed.Store(&c.subscribed)
		if body := s.health("/readyz", http.StatusServiceUnavailable); !strings.Contains(body, "has not subscribed to "+c.missing+`"`) {
			t.Errorf("subscribed to %v: %s, want %s to be missing", c.subscribed, body, c.missing)
		}
	}
}

// Between the signal to stop and the end of intake a service works on, and says that
// it is to get no more.
func TestStoppingIsToldBeforeIntakeEnds(t *testing.T) {
	const drain = 10 * time.Second
	entered, release := make(chan struct{}), make(chan struct{})
	close(release)
	env := environment(t, startDaprd(t))
	env["QUADRILLE_DRAIN"] = drain.String()
	s := start(t, spec(entered, release), env)
	s.eventually("/readyz", http.StatusOK)
	signalled := time.Now()
	s.cancel()
	s.eventually("/readyz", http.StatusServiceUnavailable)
	if body := s.health("/readyz", http.StatusServiceUnavailable); !strings.Contains(body, `"stopping"`) {
		t.Errorf("not ready: %s", body)
	}
	go func() { <-entered }()
	res, err := http.Get("http://" + env["QUADRILLE_HTTP_ADDR"] + "/v1/wait")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("while it drains a request gets %d, and the connection stays: %v", res.StatusCode, !res.Close)
	}
	_, raw := paid(t)
	if got := s.deliver(raw).GetStatuses()[0].GetStatus(); got != runtimev1.TopicEventResponse_SUCCESS {
		t.Errorf("while it drains an event is answered %v", got)
	}
	s.untilRefused("QUADRILLE_HTTP_ADDR")
	if took := time.Since(signalled); took < drain {
		t.Errorf("intake ended %v after the signal", took)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// asking is a service whose route asks the database.
func asking() service.Spec {
	s := spec(nil, nil)
	build := s.Build
	s.Build = func(kit *service.Kit) service.App {
		app := build(kit)
		app.Routes = func(r chi.Router) {
			r.Get("/v1/ask", kit.API.Handle(func(w http.ResponseWriter, r *http.Request) error {
				if _, err := kit.Pool.Exec(r.Context(), `select 1`); err != nil {
					return fmt.Errorf("ask: %w", err)
				}
				w.WriteHeader(http.StatusNoContent)
				return nil
			}))
		}
		return app
	}
	return s
}

func TestDatabaseTroubleIsUnavailable(t *testing.T) {
	env := environment(t, startDaprd(t))
	s := start(t, asking(), env)
	s.eventually("/readyz", http.StatusOK)
	u, err := url.Parse(env["QUADRILLE_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	ctx := context.WithoutCancel(t.Context())
	server, err := pgx.Connect(ctx, os.Getenv("QUADRILLE_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(ctx)
	do := func(sql string, args ...any) {
		t.Helper()
		if _, err := server.Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	ask := func(want int) {
		t.Helper()
		res, err := http.Get("http://" + env["QUADRILLE_HTTP_ADDR"] + "/v1/ask")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != want || want == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
			t.Errorf("answered %d, Retry-After %q, want %d", res.StatusCode, res.Header.Get("Retry-After"), want)
		}
	}
	ask(http.StatusNoContent)
	disconnect := func() {
		t.Helper()
		do(`alter database ` + name + ` with allow_connections false`)
		do(`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1`, name)
	}
	for trouble, sql := range map[string]struct{ spoil, mend string }{
		"no connections": {`select 1`, `select 1`},
		"no such database, as while one is restored": {
			`alter database ` + name + ` rename to ` + name + `_away`, `alter database ` + name + `_away rename to ` + name,
		},
	} {
		t.Run(trouble, func(*testing.T) {
			disconnect()
			do(sql.spoil)
			for range 12 { // more than the pool has connections
				ask(http.StatusServiceUnavailable)
			}
			s.health("/readyz", http.StatusServiceUnavailable)
			do(sql.mend)
			do(`alter database ` + name + ` with allow_connections true`)
			s.eventually("/readyz", http.StatusOK)
			ask(http.StatusNoContent)
		})
	}
}
