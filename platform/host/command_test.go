package host_test

import (
	"bytes"
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
