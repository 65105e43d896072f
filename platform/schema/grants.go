package schema

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/pgtx"
)

// always is what the role gets of a table that neither Grants nor kept names.
const always = "select, insert, update, delete"

// kept are tables of the kit that services have less of: those that only Migrate
// writes, and what is added to but never changed.
var kept = map[string]string{
	"kit_migrations": "select", "service_migrations": "select", "schema_floor": "select", "schema_grants": "select",
	// An operator's word to give an event up: added, and never changed.
	"parked_discards": "select, insert",
}

// grantable privileges are those that change no schema.
var grantable = []string{"delete", "insert", "select", "update"}

// grant gives the role exactly the privileges that it needs on all that there is, and
// notes it. What has them already is not touched.
func (m *migration) grant(ctx context.Context, conn *pgx.Conn) error {
	if m.ownerServes(conn) {
		m.Log.WarnContext(ctx, "the service runs as the owner of its database, so it gets no privileges of its own", "role", conn.Config().User)
		return nil
	}
	newer, err := m.grantedByNewer(ctx, conn)
	if newer {
		m.Log.WarnContext(ctx, "newer code has migrated this database, so privileges stay as they are")
	}
	if err != nil || newer {
		return err
	}
	return pgtx.Run(ctx, conn, func(ctx context.Context, tx pgx.Tx) error {
		if err := m.grantMissing(ctx, tx, true); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			insert into schema_grants (role, kit, service) values ($1, $2, $3)
			on conflict (role) do update set kit = excluded.kit, service = excluded.service, granted_at = now()
			where (schema_grants.kit, schema_grants.service) <> (excluded.kit, excluded.service)`,
			m.Role, m.parts[0].version(), m.parts[1].version())
		return err
	})
}

// grantSoFar is grant between two migrations, where not all tables are there yet.
func (m *migration) grantSoFar(ctx context.Context, conn *pgx.Conn) error {
	if m.ownerServes(conn) {
		return nil
	}
	var ready bool // or no service runs yet
	if err := conn.QueryRow(ctx, `select to_regclass('public.schema_grants') is not null`).Scan(&ready); err != nil || !ready {
		return err
	}
	if newer, err := m.grantedByNewer(ctx, conn); err != nil || newer {
		return err
	}
	return pgtx.Run(ctx, conn, func(ctx context.Context, tx pgx.Tx) error { return m.grantMissing(ctx, tx, false) })
}

func (m *migration) ownerServes(conn *pgx.Conn) bool {
	return m.AnyRole && (m.Role == "" || m.Role == conn.Config().User)
}

// grantMissing gives and takes what differs. All that Grants names must be there when
// the schema is whole.
func (m *migration) grantMissing(ctx context.Context, tx pgx.Tx, whole bool) error {
	statements, err := m.differences(ctx, tx, whole)
	if err != nil {
		return err
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if len(statements) == 0 {
		return nil
	}
	left, err := m.differences(ctx, tx, whole)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("without effect, as another role granted or owns it; as superuser: %s", strings.Join(left, "; "))
	}
	m.Log.InfoContext(ctx, "granted privileges", "role", m.Role, "statements", len(statements))
	return nil
}

// grantedByNewer reports whether newer code has granted already: it knows tables that
// this code does not, and how little of them the role may have.
func (m *migration) grantedByNewer(ctx context.Context, conn *pgx.Conn) (newer bool, err error) {
	err = conn.QueryRow(ctx, `select exists (select from schema_grants where role = $1 and (kit > $2 or service > $3))`,
		m.Role, m.parts[0].version(), m.parts[1].version()).Scan(&newer)
	return newer, err
}

// differences are the statements that are missing until the role has what it should.
func (m *migration) differences(ctx context.Context, tx pgx.Tx, whole bool) ([]string, error) {
	general, err := m.generalDifferences(ctx, tx)
	if err != nil {
		return nil, err
	}
	relations, tables, err := m.relationDifferences(ctx, tx)
	if err != nil {
		return nil, err
	}
	routines, functions, err := m.routineDifferences(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(m.Grants)) {
		if whole && !tables[name] && !functions[name] {
			return nil, fmt.Errorf("the service's Grants name %s, which does not exist", name)
		}
	}
	return slices.Concat(general, relations, routines), nil
}

// generalDifferences are about the database and its schema.
func (m *migration) generalDifferences(ctx context.Context, tx pgx.Tx) ([]string, error) {
	const sql = `
		select exists (select from pg_roles where rolname = $1), current_database(),
			exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
				where a.grantee = r.oid and a.privilege_type = 'USAGE'),
			exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
				where a.grantee in (0, r.oid) and a.privilege_type = 'CREATE'),
			exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
				where a.grantee = r.oid and a.privilege_type = 'CONNECT'),
			exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
				where a.grantee in (0, r.oid) and a.privilege_type in ('CREATE', 'TEMPORARY'))
		from pg_namespace n cross join pg_database d left join pg_roles r on r.rolname = $1
		where n.nspname = 'public' and d.datname = current_database()`
	var exists, usage, create, connect, temporary bool
	var database string
	if err := tx.QueryRow(ctx, sql, m.Role).Scan(&exists, &database, &usage, &create, &connect, &temporary); err != nil {
		return nil, fmt.Errorf("look at the privileges on the database: %w", err)
	}
	if !exists {
		return nil, errors.New("there is no such role; create role ... login, with a password")
	}
	role, database := quote(m.Role), quote(database)
	var statements []string
	if create {
		statements = append(statements, "revoke create on schema public from public, "+role)
	}
	if !usage {
		statements = append(statements, "grant usage on schema public to "+role)
	}
	if temporary {
		statements = append(statements, fmt.Sprintf("revoke create, temporary on database %s from public, %s", database, role))
	}
	if !connect {
		statements = append(statements, fmt.Sprintf("grant connect on database %s to %s", database, role))
	}
	return statements, nil
}

// relationDifferences are about tables, views and sequences. It also returns the
// names of all.
func (m *migration) relationDifferences(ctx context.Context, tx pgx.Tx) ([]string, map[string]bool, error) {
	const sql = `
		select c.relname, c.relkind = 'S', c.relispartition,
			coalesce((select string_agg(lower(a.privilege_type), ', ' order by lower(a.privilege_type))
				from aclexplode(c.relacl) a where a.grantee = r.oid), ''),
			exists (select from aclexplode(c.relacl) a where a.grantee = 0)
				or exists (select from pg_attribute t, aclexplode(t.attacl) a where t.attrelid = c.oid and a.grantee in (0, r.oid))
		from pg_class c join pg_roles r on r.rolname = $1
		where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
			and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
		order by 1`
	rows, err := tx.Query(ctx, sql, m.Role)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the privileges on tables: %w", err)
	}
	var statements []string
	tables := map[string]bool{}
	var name, has string
	var sequence, partition, others bool
	_, err = pgx.ForEachRow(rows, []any{&name, &sequence, &partition, &has, &others}, func() error {
		tables[name] = true
		want, err := m.wanted(name, sequence, partition)
		if err != nil {
			return err
		}
		kind := "table"
		if sequence {
			kind = "sequence"
		}
		if has != want || others {
			statements = append(statements, fmt.Sprintf("revoke all on %s %s from public, %s", kind, quote(name), quote(m.Role)))
			if want != "" {
				statements = append(statements, fmt.Sprintf("grant %s on %s %s to %s", want, kind, quote(name), quote(m.Role)))
			}
		}
		return nil
	})
	return statements, tables, err
}

// wanted lists the privileges on a table or a sequence in the order of the alphabet.
// Partitions are reached through their table, whose privileges count.
func (m *migration) wanted(name string, sequence, partition bool) (string, error) {
	want, named := m.Grants[name]
	if !named {
		want, named = kept[name]
	}
	if !named {
		switch {
		case sequence:
			return "select, usage", nil
		case partition:
			return "", nil
		}
		want = always
	}
	var words []string
	for word := range strings.SplitSeq(want, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if word == "" {
			continue
		}
		if !slices.Contains(grantable, word) {
			return "", fmt.Errorf("the service's Grants give %q on %s; a service has only %s", word, name, always)
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", "), nil
}

// routineDifferences are about functions, which anybody may execute until told
// otherwise. It also returns the names of all, with "()".
func (m *migration) routineDifferences(ctx context.Context, tx pgx.Tx) ([]string, map[string]bool, error) {
	const sql = `
		select p.proname, p.oid::regprocedure::text, p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype),
			exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = r.oid),
			exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)
		from pg_proc p join pg_roles r on r.rolname = $1
		where p.pronamespace = 'public'::regnamespace
			and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
		order by 2`
	rows, err := tx.Query(ctx, sql, m.Role)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the privileges on functions: %w", err)
	}
	var statements []string
	functions := map[string]bool{}
	var name, signature string
	var trigger, has, public bool
	_, err = pgx.ForEachRow(rows, []any{&name, &signature, &trigger, &has, &public}, func() error {
		name += "()"
		functions[name] = true
		privilege, named := m.Grants[name]
		want := !trigger && name != "raise_schema_floor()"
		if named {
			want = strings.TrimSpace(privilege) != ""
		}
		if public {
			statements = append(statements, "revoke all on routine "+signature+" from public")
		}
		if has && !want {
			statements = append(statements, "revoke all on routine "+signature+" from "+quote(m.Role))
		}
		if want && !has {
			statements = append(statements, "grant execute on routine "+signature+" to "+quote(m.Role))
		}
		return nil
	})
	return statements, functions, err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
