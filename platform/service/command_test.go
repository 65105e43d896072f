package service_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"quadrille.internal/platform/host"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
)

func TestCommandLine(t *testing.T) {
	for line, c := range map[string]struct {
		code        int
		out, errors string
	}{
		"--help":          {0, "order migrate", ""},
		"help":            {0, "order migrate", ""},
		"migrat":          {2, "", `there is no command "migrat"`},
		"--port 80":       {2, "", "usage:"},
		"migrate --force": {2, "", "takes no arguments"},
		"run now":         {2, "", "takes no arguments"},
		"run":             {1, "", "QUADRILLE_DATABASE_URL is not set"},
		"":                {1, "", "QUADRILLE_DATABASE_URL is not set"},
		"migrate":         {1, "", "QUADRILLE_MIGRATE_DATABASE_URL is not set"},
	} {
		var out, errs bytes.Buffer
		code := host.Command(t.Context(), []service.Spec{spec(nil, nil)}, strings.Fields(line), lookup(nil), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.errors) || c.errors == "" && errs.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d\n%s%s", line, code, c.code, &out, &errs)
		}
	}
}

// The command takes the owner's URL from a file and the service's role from the URL
// that the service has; then the service starts, and the command has nothing to do.
func TestMigrateThenRun(t *testing.T) {
	database := pgtest.New(t)
	secret := filepath.Join(t.TempDir(), "owner.url")
	if err := os.WriteFile(secret, []byte(database.Owner+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := environment(t, startDaprd(t))
	env["QUADRILLE_DATABASE_URL"] = database.Runtime
	s := start(t, spec(nil, nil), env)
	for range 2 {
		var log bytes.Buffer
		command := map[string]string{"QUADRILLE_MIGRATE_DATABASE_URL_FILE": secret, "QUADRILLE_DATABASE_URL": database.Runtime}
		if code := host.Command(t.Context(), []service.Spec{spec(nil, nil)}, []string{"migrate"}, lookup(command), io.Discard, &log); code != 0 {
			t.Fatalf("exit code %d\n%s", code, &log)
		}
		if !strings.Contains(log.String(), "the schema is up to date") {
			t.Errorf("log:\n%s", &log)
		}
	}
	s.eventually("/readyz", 200) // it waited for its schema
}

// until is a log that ends what writes it with a line.
type until struct {
	line string
	end  func()
}

func (u until) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(u.line)) {
		u.end()
	}
	return len(b), nil
}

func TestWhatAServiceRefuses(t *testing.T) {
	empty, behind, owned := pgtest.New(t), pgtest.New(t), pgtest.New(t)
	behind.Migrate(t, pgtest.None)
	owned.Migrate(t, pgtest.None)
	newer := spec(nil, nil)
	newer.Migrations = fstest.MapFS{
		"migrations/00001_none.sql": {Data: []byte("-- +goose Up\nselect 1;\n")},
		"migrations/00002_next.sql": {Data: []byte("-- +goose Up\nselect 2;\n")},
	}
	for name, c := range map[string]struct {
		spec     service.Spec
		database string
		want     string
	}{
		"nothing was migrated": {spec(nil, nil), empty.Runtime, "run `order migrate`"},
		"the schema is older":  {newer, behind.Runtime, "it lacks the service migrations 00002; run `order migrate`"},
		"the role owns tables": {spec(nil, nil), owned.Owner, "owns tables"},
	} {
		t.Run(name, func(t *testing.T) {
			env := environment(t, startDaprd(t))
			env["QUADRILLE_DATABASE_URL"] = c.database
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if err := host.Run(ctx, []service.Spec{c.spec}, lookup(env), until{"waiting for the schema", cancel}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want %q", err, c.want)
			}
		})
	}
}
