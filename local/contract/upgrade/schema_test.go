package upgrade

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quadrille.internal/local/release"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/schema"
	"quadrille.internal/platform/service"
	"quadrille.internal/services"
)

// While services are upgraded, those of the release before run on today's schema: no
// migration takes away or changes what they rely on, and each can still start.
func TestTodaysMigrationsDoNotBreakTheReleaseBefore(t *testing.T) {
	root, previous := recorded(t)
	programs, err := previous.Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	today := map[string]service.Spec{}
	for _, spec := range services.All() {
		today[spec.Name] = spec
	}
	kit := readAllowed(t, filepath.Join(root, "platform", "schema", "migrations"))
	for _, name := range withDatabase(t, previous) {
		t.Run(name, func(t *testing.T) {
			spec, ok := today[name]
			if !ok {
				t.Fatalf("release %s has this service, and today's code does not", previous.Name)
			}
			migrations, err := filepath.Glob(filepath.Join(root, "*", name, "migrations"))
			if err != nil || len(migrations) != 1 {
				t.Fatalf("its migrations are in %v, %v", migrations, err)
			}
			own := readAllowed(t, migrations[0])
			for _, f := range upgrade(t, filepath.Join(programs, name), spec) {
				if !own.Allows(f) && !kit.Allows(f) {
					t.Errorf("%s\n\texpand first, and contract one release later (docs/operating.md, Upgrading); "+
						"if it does no harm, say why in %s", f, filepath.Join(migrations[0], AllowedFile))
				}
			}
			for _, line := range own.Unused() {
				t.Error(line)
			}
		})
	}
	for _, line := range kit.Unused() {
		t.Error(line)
	}
}

// withDatabase are the services of a release that have migrations.
func withDatabase(t *testing.T, r release.Release) (names []string) {
	t.Helper()
	source, err := r.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"services", "workflows"} {
		found, err := filepath.Glob(filepath.Join(source, folder, "*", "migrations"))
		if err != nil {
			t.Fatal(err)
		}
		for _, migrations := range found {
			names = append(names, filepath.Base(filepath.Dir(migrations)))
		}
	}
	if len(names) < 5 {
		t.Fatalf("release %s has migrations of %q only", r.Name, names)
	}
	return names
}

// upgrade makes the database of the release before, brings it up to date, and returns
// what that may break. In between and at the end the old program migrates, which
// also checks that the schema has not moved on without it.
func upgrade(t *testing.T, program string, spec service.Spec) []Finding {
	t.Helper()
	d := pgtest.New(t)
	migrateBy(t, program, d)
	before := read(t, connect(t, d.Superuser))
	if err := schema.Migrate(t.Context(), schema.Options{
		URL: d.Owner, Role: pgtest.RuntimeRole, Name: spec.Name, Own: spec.Migrations, Grants: spec.Grants,
	}); err != nil {
		t.Fatal(err)
	}
	after := read(t, connect(t, d.Superuser))
	migrateBy(t, program, d)
	return Compare(before, after)
}

func migrateBy(t *testing.T, program string, d pgtest.Database) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "migrate")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "QUADRILLE_MIGRATE_DATABASE_URL="+d.Owner, "QUADRILLE_DATABASE_ROLE="+pgtest.RuntimeRole)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the program of the release before does not migrate: %v\n%s", err, out)
	}
}

// What a release holds that others have stored or applied does not change afterwards:
// migrations in databases, events on topics, histories of workflows under way.
func TestRecordedFilesStayAsTheyWereReleased(t *testing.T) {
	root, previous := recorded(t)
	source, err := previous.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		"platform/schema/migrations/*.sql", "*/*/migrations/*.sql", "events/testdata/*.json", "workflows/*/testdata/histories/*.json",
	} {
		files, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil || len(files) == 0 {
			t.Errorf("release %s has no %s, %v", previous.Name, pattern, err)
		}
		for _, file := range files {
			path, err := filepath.Rel(source, file)
			if err != nil {
				t.Fatal(err)
			}
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if is, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(is) != string(was) {
				t.Errorf("%s is not as in release %s (%v): leave it, and add another file", path, previous.Name, err)
			}
		}
	}
}

func TestAllowed(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, AllowedFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# none\ndropped column a.b: nothing read it\ndropped table c: gone\n")
	a := readAllowed(t, dir)
	if !a.Allows(Finding{What: "dropped column a.b"}) || a.Allows(Finding{What: "dropped column a.c"}) {
		t.Error("it does not allow what the file says")
	}
	if unused := strings.Join(a.Unused(), ""); !strings.Contains(unused, "dropped table c") || strings.Contains(unused, "a.b") {
		t.Errorf("unused is %q", unused)
	}
	write("dropped column a.b:\n")
	if _, err := ReadAllowed(dir); err == nil || !strings.Contains(err.Error(), "no reason") {
		t.Errorf("a line without a reason: %v", err)
	}
}

func readAllowed(t *testing.T, dir string) *Allowed {
	t.Helper()
	a, err := ReadAllowed(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func recorded(t *testing.T) (root string, previous release.Release) {
	t.Helper()
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	if previous, err = release.Previous(root); err != nil {
		t.Fatal(err)
	}
	return root, previous
}
