package schema_test

import (
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"quadrille.internal/platform/schema"
)

// await checks for a service with these migrations, until it is told to wait.
func (d *database) await(url string, own fs.FS, anyRole bool) error {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	return schema.Await(ctx, d.pool(url), schema.CheckOptions{
		Own: own, Command: "shop migrate", AnyRole: anyRole, Log: slog.New(slog.NewTextHandler(writer(cancel), nil)),
	})
}

// writer is called for each line.
type writer func()

func (w writer) Write(b []byte) (int, error) { w(); return len(b), nil }

func TestAServiceTellsASchemaThatItCanWorkWith(t *testing.T) {
	one, two, three := "create table a ();", "create table b ();", "drop table a; select raise_schema_floor('service', 2, 'a is dropped');"
	for name, c := range map[string]struct {
		database fs.FS // nil is empty
		code     fs.FS
		want     string // of the error; "" is none
	}{
		"the same":           {migrations(one, two), migrations(one, two), ""},
		"empty":              {nil, migrations(one), "lacks the kit migrations 00001"},
		"older":              {migrations(one), migrations(one, two), "lacks the service migrations 00002; run `shop migrate`"},
		"newer":              {migrations(one, two), migrations(one), ""},
		"contracted":         {migrations(one, two, three), migrations(one, two), ""},
		"contracted too far": {migrations(one, two, three), migrations(one), "service migration 00002 at least (a is dropped), and this code holds 00001"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			if c.database != nil {
				d.migrate(c.database)
			}
			err := d.await(d.Runtime, c.code, false)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Await = %v, want %q", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "database \"test_") {
				t.Errorf("no database is named: %v", err)
			}
		})
	}
}

// Code that is too old does not migrate either, and code that is only older leaves the
// privileges to the newer.
func TestOlderCodeDoesNotMigrateBack(t *testing.T) {
	d := newDatabase(t)
	one, two := "create table a ();", "create table b ();"
	o := d.options(migrations(one, two))
	o.Grants = map[string]string{"b": "select"}
	if err := schema.Migrate(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	d.migrate(migrations(one))
	var may bool
	if err := d.connect(d.Runtime).QueryRow(t.Context(), `select has_table_privilege('b', 'insert')`).Scan(&may); err != nil || may {
		t.Errorf("the older code granted insert: %v, %v", may, err)
	}
	d.exec(d.connect(d.Owner), `select raise_schema_floor('service', 2, 'test')`)
	if err := schema.Migrate(t.Context(), d.options(migrations(one))); err == nil || !strings.Contains(err.Error(), "the schema has moved on") {
		t.Errorf("Migrate = %v", err)
	}
}

// A service that starts while the command migrates goes on when that is done.
func TestAServiceWaitsForTheMigration(t *testing.T) {
	d := newDatabase(t)
	one, two := "create table a ();", "create table b ();"
	d.migrate(migrations(one))
	ended := make(chan error, 1)
	pool := d.pool(d.Runtime)
	log := d.options(nil).Log
	go func() {
		ended <- schema.Await(context.Background(), pool, schema.CheckOptions{Own: migrations(one, two), Command: "shop migrate", Log: log})
	}()
	eventually(t, "it says that it waits", func() bool { return d.log.has("waiting for the schema") })
	d.migrate(migrations(one, two))
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestARoleWithTooManyRightsIsRefused(t *testing.T) {
	d := newDatabase(t)
	own := migrations("create table a ();")
	d.migrate(own)
	for url, want := range map[string]string{d.Owner: "owns tables", d.Superuser: "is a superuser"} {
		if err := d.await(url, own, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Await = %v, want %q", err, want)
		}
		if err := d.await(url, own, true); err != nil {
			t.Errorf("when told to allow it: %v", err)
		}
	}
	d.exec(d.connect(d.Owner), `grant create on schema public to public`)
	if err := d.await(d.Runtime, own, false); err == nil || !strings.Contains(err.Error(), "may create tables") {
		t.Errorf("Await = %v", err)
	}
}
