package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/schema"
)

const base = `
create type mood as enum ('good', 'bad');
create domain cents as bigint check (value >= 0);
create table people (id bigint primary key, name text not null, note text, age int default 7, amount cents,
	email text unique, check (age > 0));
create index people_by_name on people (name);
create view names as select id, name from people;
create function greet(text) returns text language sql as 'select $1';
create function seen() returns trigger language plpgsql as 'begin return new; end';
create trigger seen before update on people for each row execute function seen();
create sequence numbers;
create table days (day date not null, n int) partition by range (day);
create table days_1 partition of days for values from ('2026-01-01') to ('2026-01-02');
`

// Each kind of change that breaks the release before is found, and those that expand
// the schema are not. A rename is a drop.
func TestCompare(t *testing.T) {
	d := pgtest.New(t)
	before := migrated(t, d, nil, base)
	owner := connect(t, d.Owner)
	for _, c := range []struct{ change, want string }{
		{`create table pets (id bigint primary key, name text not null check (name <> ''), unique (name))`, ""},
		{`alter table people add nick text`, ""},
		{`alter table people add nick text not null default ''`, ""},
		{`alter table people add n bigint generated always as identity`, ""},
		{`alter table people add n bigint generated always as (id * 2) stored`, ""},
		{`alter table people alter note set default ''`, ""},
		{`create index people_by_age on people (age)`, ""},
		{`create function wave() returns text language sql as 'select 1::text'`, ""},
		{`create view ages as select id, age from people`, ""},
		{`create table days_2 partition of days for values from ('2026-01-02') to ('2026-01-03'); drop table days_1`, ""},

		{`drop table days`, "dropped table days"},
		{`alter table days rename to weeks`, "dropped table days"},
		{`drop view names`, "dropped table names"},
		{`drop sequence numbers`, "dropped table numbers"},
		{`create or replace view names as select id, upper(name) as name from people`, "changed rule names._RETURN"},
		{`alter table people drop note`, "dropped column people.note"},
		{`alter table people rename note to remark`, "dropped column people.note"},
		{`alter table people alter note type varchar(10)`, "changed column people.note"},
		{`alter table people alter amount type int`, "changed column people.amount"},
		{`alter table people add nick text not null`, "added required column people.nick"},
		{`alter table people alter note set not null`, "added not null people.note"},
		{`drop view names; alter table people alter name drop not null`, "dropped not null people.name, dropped table names"},
		{`alter table people alter age drop default`, "dropped default people.age"},
		{`alter table people alter age set default 8`, "changed default people.age"},
		{`alter table people add constraint short check (length(note) < 9) not valid`, "added constraint people.short"},
		{`alter table people add constraint once unique (note)`, "added constraint people.once"},
		{`create unique index once on people (note)`, "added unique index once"},
		{`create table pets (owner bigint references people)`, "added constraint pets.pets_owner_fkey"},
		{`alter table people drop constraint people_email_key`, "dropped constraint people.people_email_key"},
		{`alter table people drop constraint people_age_check`, "dropped constraint people.people_age_check"},
		{`alter table people drop constraint people_age_check, add constraint people_age_check check (age > 1)`, "changed constraint people.people_age_check"},
		{`drop index people_by_name`, "dropped index people_by_name"},
		{`drop index people_by_name; create index people_by_name on people (name) where age > 1`, "changed index people_by_name"},
		{`create trigger more before insert on people for each row execute function seen()`, "added trigger people.more"},
		{`drop trigger seen on people`, "dropped trigger people.seen"},
		{`alter table people disable trigger seen`, "changed trigger people.seen"},
		{`create rule none as on insert to people do instead nothing`, "added rule people.none"},
		{`alter table people enable row level security`, "added row security people"},
		{`alter type mood add value 'fair'`, "changed type mood"},
		{`alter domain cents add check (value < 9)`, "changed type cents"},
		{`drop function greet(text)`, "dropped function greet(text)"},
		{`create or replace function greet(text) returns text language sql as 'select upper($1)'`, "changed function greet(text)"},
		{`alter function greet(text) security definer`, "changed function greet(text)"},
		{`drop function greet(text); create function greet(text, int) returns text language sql as 'select $1'`,
			"dropped function greet(text)"},
	} {
		t.Run(c.change, func(t *testing.T) {
			tx, err := owner.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context()) //nolint:errcheck // the next case needs none of it
			if _, err := tx.Exec(t.Context(), c.change); err != nil {
				t.Fatal(err)
			}
			if got := what(Compare(before, read(t, owner))); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestCompareFindsPrivilegesTakenAway(t *testing.T) {
	d := pgtest.New(t)
	before := migrated(t, d, nil, base)
	after := migrated(t, d, map[string]string{"people": "select", "greet()": ""}, base, "select 1")
	want := "dropped privilege delete on people, dropped privilege execute on greet(text), " +
		"dropped privilege insert on people, dropped privilege update on people"
	if got := what(Compare(before, after)); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

func what(findings []Finding) string {
	var list []string
	for _, f := range findings {
		list = append(list, f.What)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// migrated brings the database up to these migrations, as a service's command does, and
// returns its catalog.
func migrated(t *testing.T, d pgtest.Database, grants map[string]string, statements ...string) Catalog {
	t.Helper()
	own := fstest.MapFS{}
	for i, sql := range statements {
		text := "-- +goose Up\n-- +goose StatementBegin\n" + sql + "\n-- +goose StatementEnd\n"
		own[fmt.Sprintf("migrations/%05d_test.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	if err := schema.Migrate(t.Context(), schema.Options{
		URL: d.Owner, Role: pgtest.RuntimeRole, Name: "test", Own: own, Grants: grants,
	}); err != nil {
		t.Fatal(err)
	}
	return read(t, connect(t, d.Superuser))
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func read(t *testing.T, conn *pgx.Conn) Catalog {
	t.Helper()
	found, err := Read(t.Context(), conn, pgtest.RuntimeRole)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
