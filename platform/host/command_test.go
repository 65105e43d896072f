package host_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/platform/host"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func named(names ...string) (specs []service.Spec) {
	for i, name := range names {
		specs = append(specs, service.Spec{
			Name: name, Port: service.FirstPort + i*service.PortsEach, Migrations: pgtest.None, Build: func(*service.Kit) service.App { return service.App{} },
		})
	}
	return specs
}

// A program of several services takes their names, and wants settings of each.
func TestCommandLineOfSeveralServices(t *testing.T) {
	for line, c := range map[string]struct {
		code        int
		out, errors string
	}{
		"help":           {0, "services: order, payment", ""},
		"migrat":         {2, "", `there is no command "migrat"`},
		"run paymnt":     {2, "", `there is no service "paymnt"`},
		"migrate -force": {2, "", `there is no service "-force"`},
		"":               {1, "", "QUADRILLE_PAYMENT_DATABASE_URL is not set"},
		"run":            {1, "", "QUADRILLE_ORDER_DATABASE_URL is not set"},
		"run payment":    {1, "", "QUADRILLE_PAYMENT_DATABASE_URL_FILE"},
		"order":          {1, "", "QUADRILLE_ORDER_ADMIN_TOKEN is not set"},
		"migrate":        {1, "", "QUADRILLE_PAYMENT_MIGRATE_DATABASE_URL is not set"},
	} {
		var out, errs bytes.Buffer
		shared := map[string]string{"QUADRILLE_DATABASE_URL": "postgres://a@b/c", "QUADRILLE_MIGRATE_DATABASE_URL": "postgres://a@b/c"}
		lookup := func(name string) (string, bool) { v, ok := shared[name]; return v, ok }
		code := host.Command(t.Context(), named("order", "payment"), strings.Fields(line), lookup, &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.errors) || c.errors == "" && errs.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d\n%s%s", line, code, c.code, &out, &errs)
		}
		if one, of, _ := strings.Cut(line, " "); c.code == 1 && (of == "payment" && strings.Contains(errs.String(), "_ORDER_") || one == "order" && strings.Contains(errs.String(), "_PAYMENT_")) {
			t.Errorf("%q: wants settings of a service that it does not run:\n%s", line, &errs)
		}
	}
}

// What Debezium publishes to Kafka, services of one process do not hear.
func TestServicesOfOneProcessPublishByThemselves(t *testing.T) {
	var errs bytes.Buffer
	shared := map[string]string{"QUADRILLE_RELAY": "debezium"}
	lookup := func(name string) (string, bool) { v, ok := shared[name]; return v, ok }
	code := host.Command(t.Context(), named("order", "payment"), nil, lookup, io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "QUADRILLE_RELAY: is debezium") {
		t.Errorf("exit code %d\n%s", code, &errs)
	}
}

// A service that is not installed is not run, and nothing is kept for it.
func TestServicesThatAreNotInstalled(t *testing.T) {
	for _, c := range []struct{ installed, line, errors, lacks string }{
		{"payment", "run", "QUADRILLE_PAYMENT_DATABASE_URL is not set", "_ORDER_"},
		{"payment, order", "run order", "QUADRILLE_ORDER_DATABASE_URL is not set", "_PAYMENT_"},
		{"payment", "run order", "order is not installed", "is not set"},
		{"payment,oder", "run", `QUADRILLE_INSTALLED: there is no service "oder"`, "is not set"},
	} {
		var errs bytes.Buffer
		lookup := func(name string) (string, bool) { return c.installed, name == "QUADRILLE_INSTALLED" }
		code := host.Command(t.Context(), named("order", "payment"), strings.Fields(c.line), lookup, io.Discard, &errs)
		if code == 0 || !strings.Contains(errs.String(), c.errors) || strings.Contains(errs.String(), c.lacks) {
			t.Errorf("%q of %q: exit code %d\n%s", c.line, c.installed, code, &errs)
		}
	}
}

// Each service's database is migrated with its own URL, and those that are named only.
// Then they run together, and stop as one.
func TestSeveralServicesAreMigratedAndRun(t *testing.T) {
	specs, env := named("order", "payment"), map[string]string{}
	for _, spec := range specs {
		database, prefix := pgtest.New(t), "QUADRILLE_"+strings.ToUpper(spec.Name)
		env[prefix+"_MIGRATE_DATABASE_URL"], env[prefix+"_DATABASE_URL"] = database.Owner, database.Runtime
		env[prefix+"_ADMIN_TOKEN"] = "admin-token"
		for _, addr := range []string{"_HTTP_ADDR", "_ADMIN_ADDR", "_HEALTH_ADDR"} {
			env[prefix+addr] = "127.0.0.1:0"
		}
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, line := range []string{"migrate payment", "migrate order payment", "migrate"} {
		var errs bytes.Buffer
		if code := host.Command(t.Context(), specs, strings.Fields(line), lookup, io.Discard, &errs); code != 0 {
			t.Fatalf("%q: exit code %d\n%s", line, code, &errs)
		}
		if done := strings.Count(errs.String(), "the schema is up to date"); done != 1 && line == "migrate payment" || done != 2 && line != "migrate payment" {
			t.Errorf("%q: %d databases are up to date\n%s", line, done, &errs)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	log := writer(func(line string) {
		if strings.Contains(line, `"msg":"running"`) && strings.Contains(line, "order, payment") {
			close(running)
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- host.Run(ctx, specs, lookup, log) }()
	select {
	case <-running:
	case err := <-ended:
		t.Fatalf("Run = %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// writer is called with each line of a log.
type writer func(string)

func (w writer) Write(line []byte) (int, error) { w(string(line)); return len(line), nil }
