package schema_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/schema"
)

const refused = "42501" // insufficient_privilege

// protected is a service with an append-only table, and one that it may not see.
func protected() fs.FS {
	return migrations(`
		create table orders (id bigint generated always as identity primary key, note text);
		create table decisions (id serial primary key, verdict text);
		create table decision_key (secret text);
		create table events (day int) partition by list (day);
		create table events_1 partition of events for values in (1);
-- +goose StatementBegin
		create function refuse_change() returns trigger language plpgsql as $$ begin raise exception 'append-only'; end $$;
-- +goose StatementEnd
		create trigger append_only before update or delete on decisions for each row execute function refuse_change();
-- +goose StatementBegin
		create function add_partition(d int) returns void language plpgsql security definer set search_path = public, pg_temp as
		$$ begin execute format('create table events_%s partition of events for values in (%s)', d, d); end $$;
-- +goose StatementEnd
		`)
}

var protectedGrants = map[string]string{"decisions": "select, insert", "decision_key": ""}

func TestTheServicesRoleMayDoItsWorkAndNoMore(t *testing.T) {
	d := newDatabase(t)
	d.Migrate(t, protected(), protectedGrants)
	conn := d.connect(d.Runtime)
	for _, sql := range []string{
		`insert into orders (note) values ('a')`, `update orders set note = 'b'`, `select id, note from orders`, `delete from orders`,
		`insert into decisions (verdict) values ('approve')`, `select verdict from decisions`,
		`insert into outbox (id, topic, key, payload, leased_until) values (gen_random_uuid(), 't', 'k', '', now())`,
		`select expect_rows(1, 1)`, `select version_id from service_migrations`,
		`select add_partition(2)`, `insert into events (day) values (1), (2)`, `delete from events`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		`create table t ()`, `create temp table t ()`, `create schema s`, `create function f() returns int language sql as 'select 1'`,
		`create view v as select 1`, `create index on orders (note)`, `create trigger t before update on orders execute function refuse_change()`,
		`alter table orders add c int`, `alter table orders owner to ` + pgtest.RuntimeRole, `drop table orders`, `truncate orders`,
		`alter table decisions disable trigger append_only`, `alter table decisions disable trigger all`,
		`drop trigger append_only on decisions`, `create rule r as on insert to decisions do instead nothing`,
		`update decisions set verdict = 'reject'`, `delete from decisions`, `truncate decisions`, `do $$ begin lock table decisions; end $$`,
		`select secret from decision_key`, `alter function refuse_change() rename to f`, `drop function refuse_change()`,
		`create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'`,
		`insert into service_migrations (version_id, is_applied) values (9, true)`, `delete from kit_migrations`,
		`update schema_floor set version = 0`, `delete from schema_grants`, `select raise_schema_floor('kit', 1, '')`,
		`insert into events_1 (day) values (1)`, `drop table events_1`, `grant select on decision_key to ` + pgtest.RuntimeRole,
		`set session_replication_role = replica`, `set role ` + ownerOf(d),
	} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != refused {
			t.Errorf("%s: %v, want it refused", sql, err)
		}
	}
}

// Privileges are set exactly, whatever was granted before, each time.
func TestPrivilegesAreSetEachTime(t *testing.T) {
	d := newDatabase(t)
	d.Migrate(t, protected())
	owner := d.connect(d.Owner)
	d.exec(owner, `
		grant all on decisions, kit_migrations to `+pgtest.RuntimeRole+`; grant select on decision_key to public;
		grant update (verdict) on decisions to `+pgtest.RuntimeRole+`; grant create on schema public to `+pgtest.RuntimeRole+`;
		grant execute on function raise_schema_floor to public; revoke all on orders from `+pgtest.RuntimeRole+`;`)
	d.Migrate(t, protected(), protectedGrants)
	for relation, want := range map[string]string{
		"decisions": "INSERT,SELECT", "decision_key": "", "kit_migrations": "SELECT", "orders": "DELETE,INSERT,SELECT,UPDATE", "events_1": "",
	} {
		var got string
		err := owner.QueryRow(t.Context(), `select coalesce(string_agg(p, ','), '') from unnest(array['DELETE', 'INSERT', 'SELECT', 'UPDATE', 'TRUNCATE', 'TRIGGER']) p
			where has_table_privilege($1::text, $2::text, p)`, pgtest.RuntimeRole, relation).Scan(&got)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", relation, got, err, want)
		}
	}
	var creates, executes, updates bool
	err := owner.QueryRow(t.Context(), `select has_schema_privilege($1, 'public', 'create'),
		has_function_privilege($1, 'raise_schema_floor(text, bigint, text)', 'execute'), has_any_column_privilege($1, 'decisions', 'update')`,
		pgtest.RuntimeRole).Scan(&creates, &executes, &updates)
	if err != nil || creates || executes || updates {
		t.Errorf("create %v, execute %v, update %v, %v", creates, executes, updates, err)
	}
}

func TestWrongRolesAndGrantsAreNamed(t *testing.T) {
	d := newDatabase(t)
	own := migrations("create table t ();")
	for name, c := range map[string]struct {
		change func(*schema.Options)
		want   string
	}{
		"a superuser migrates":        {func(o *schema.Options) { o.URL = d.Superuser }, "is a superuser"},
		"the service's role owns":     {func(o *schema.Options) { o.Role = ownerOf(d) }, "give the service a role of its own"},
		"no such role":                {func(o *schema.Options) { o.Role = "nobody_at_all" }, "grant privileges to nobody_at_all: there is no such role"},
		"a grant for no table":        {func(o *schema.Options) { o.Grants = map[string]string{"tt": "select"} }, "name tt, which does not exist"},
		"a grant that changes":        {func(o *schema.Options) { o.Grants = map[string]string{"t": "select, trigger"} }, `"trigger" on t`},
		"the service's role migrates": {func(o *schema.Options) { o.URL = d.Runtime }, "give the service a role of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			o := d.options(own)
			c.change(&o)
			if err := schema.Migrate(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Migrate = %v", err)
			}
		})
	}
}

// What a role granted that is not the owner, the owner cannot take: PostgreSQL says nothing
// then, and the service would keep the privilege.
func TestPrivilegesThatAnotherRoleGrantedAreNamed(t *testing.T) {
	d := newDatabase(t)
	d.migrate(protected())
	admin := d.connect(d.Superuser)
	other := "other_" + strings.ToLower(rand.Text()[:12])
	d.exec(admin, `create role `+other+`; grant usage on schema public to `+other)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), d.Superuser)
		if err == nil {
			_, err = conn.Exec(context.Background(), `drop owned by `+other+`; drop role `+other)
			err = errors.Join(err, conn.Close(context.Background()))
		}
		if err != nil {
			t.Error(err)
		}
	})
	d.exec(d.connect(d.Owner), `grant truncate on orders to `+other+` with grant option`)
	d.exec(admin, `set role `+other+`; grant truncate on orders to `+pgtest.RuntimeRole+`; reset role`)
	err := schema.Migrate(t.Context(), d.options(protected()))
	if err == nil || !strings.Contains(err.Error(), "as superuser: revoke all on table \"orders\" from public") {
		t.Fatalf("Migrate = %v", err)
	}
	// What is left to do once it is known.
	d.exec(admin, `set role `+other+`; revoke truncate on orders from `+pgtest.RuntimeRole+`; reset role`)
	d.migrate(protected())
}

// A database of an earlier release, in which one role did everything, names what to do.
func TestTablesOfAnotherOwnerAreNamed(t *testing.T) {
	d := newDatabase(t)
	admin := d.connect(d.Superuser)
	d.exec(admin, `create table old (); alter table old owner to `+pgtest.RuntimeRole)
	err := schema.Migrate(t.Context(), d.options(migrations("select 1;")))
	if err == nil || !strings.Contains(err.Error(), "reassign owned by "+pgtest.RuntimeRole+" to "+ownerOf(d)) {
		t.Fatalf("Migrate = %v", err)
	}
	d.exec(admin, `reassign owned by `+pgtest.RuntimeRole+` to `+ownerOf(d))
	d.migrate(migrations("select 1;"))
}

// A migration that replaces a table leaves the services that run no rights on it, and
// a later one may wait for its lock for minutes.
func TestServicesKeepTheirRightsWhileALaterMigrationWaits(t *testing.T) {
	d := newDatabase(t)
	first := "create table stock (sku text); create table orders (id int);"
	d.migrate(migrations(first))
	service, reader := d.connect(d.Runtime), d.connect(d.Runtime)
	d.exec(service, `select sku from stock`)
	d.exec(reader, `begin; select count(*) from orders`)
	o := d.options(migrations(first,
		"create table stock2 (sku text, held int); drop table stock; alter table stock2 rename to stock;",
		"alter table orders add paid text; create table ledger (id int);"))
	o.Grants = map[string]string{"ledger": "select, insert"} // is not there yet
	ended := make(chan error, 1)
	go func() { ended <- schema.Migrate(context.Background(), o) }()
	eventually(t, "it does not get its lock", func() bool { return d.log.has("a lock is taken, trying again") })
	if _, err := service.Exec(t.Context(), `insert into stock (sku) values ('a')`); err != nil {
		t.Errorf("a service while a migration waits: %v", err)
	}
	d.exec(reader, `commit`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	d.exec(service, `insert into ledger (id) values (1)`)
	if _, err := service.Exec(t.Context(), `delete from ledger`); state(err) != "42501" {
		t.Errorf("delete from ledger: %v, want no right", err)
	}
}
