// Package upgrade finds in what today's schema would break code of the release before. Its
// tests also hold today's events, components and recorded files against that release
// (docs/releases.md).
package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Catalog is what code can rely on in a database, by kind and name.
type Catalog map[string]object

type object struct {
	kind, name string
	tables     []string // that it belongs to, or refers to; none of these is a table itself
	def        string
}

// A Finding is a change of the schema that may break code of the release before.
type Finding struct {
	What string // "dropped column orders.status"
	Why  string
}

func (f Finding) String() string { return f.What + ": " + f.Why }

// kind is a kind of object, and what a change of one does to the release before. Where
// that is "", the change is harmless.
type kind struct {
	name    string
	dropped string
	changed string
	added   string // to a table that was there
	sql     string // selects name, tables, definition; $1 is the service's role
}

// relations are what the service's statements can name; partitions are reached through
// their table.
const relations = `(select c.oid, c.relname::text, c.relkind from pg_class c
	where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S') and not c.relispartition) c`

const (
	unknown = "the release before still names it"
	meaning = "the release before does not know what it means now"
	refused = "what the release before writes may be refused"
)

var kinds = []kind{
	{"table", unknown, unknown, "", `
		select relname, array[]::text[], case relkind when 'v' then 'view' when 'm' then 'view' when 'S' then 'sequence' else 'table' end from ` + relations},
	{"column", unknown, meaning, "", `
		select relname || '.' || attname, array[relname], format_type(atttypid, atttypmod) ||
			case when attgenerated <> '' then ' generated' when attidentity = 'a' then ' always identity' else '' end
		from ` + relations + ` join pg_attribute a on attrelid = oid and attnum > 0 and not attisdropped where relkind <> 'S'`},
	{"default", "the release before leaves the column to it", meaning, "", `
		select relname || '.' || attname, array[relname], pg_get_expr(adbin, adrelid)
		from ` + relations + ` join pg_attribute a on attrelid = c.oid and not attisdropped join pg_attrdef d on adrelid = attrelid and adnum = attnum`},
	{"not null", "the release before cannot read null", "", "", `
		select relname || '.' || attname, array[relname], ''
		from ` + relations + ` join pg_attribute a on attrelid = oid and attnum > 0 and not attisdropped and attnotnull where relkind <> 'S'`},
	{"required column", "", "", "the release before does not give it a value", `
		select relname || '.' || attname, array[relname], ''
		from ` + relations + ` join pg_attribute a on attrelid = oid and attnum > 0 and not attisdropped
			and attnotnull and not atthasdef and attidentity = '' where relkind <> 'S'`},
	{"constraint", "the release before may rely on it, or not read what it kept out", meaning, refused, `
		select relname || '.' || conname, array[relname] || coalesce((select f.relname::text from pg_class f where f.oid = confrelid), relname), pg_get_constraintdef(k.oid)
		from ` + relations + ` join pg_constraint k on conrelid = c.oid and contype in ('c', 'f', 'p', 'u', 'x')`},
	{"index", "statements of the release before may need it, to be quick or for on conflict", meaning, "", `
		select i.relname::text, array[c.relname], pg_get_indexdef(i.oid)
		from ` + relations + ` join pg_index x on indrelid = c.oid join pg_class i on i.oid = indexrelid
		where not exists (select from pg_constraint k where conindid = i.oid and contype in ('p', 'u', 'x'))`},
	{"unique index", "", "", refused, `
		select i.relname::text, array[c.relname], ''
		from ` + relations + ` join pg_index x on indrelid = c.oid and indisunique join pg_class i on i.oid = indexrelid
		where not exists (select from pg_constraint k where conindid = i.oid and contype in ('p', 'u', 'x'))`},
	{"trigger", meaning, meaning, refused, `
		select relname || '.' || tgname, array[relname], pg_get_triggerdef(t.oid) || case tgenabled when 'D' then ' disabled' else '' end
		from ` + relations + ` join pg_trigger t on tgrelid = c.oid and not tgisinternal`},
	{"rule", meaning, meaning, meaning, `
		select relname || '.' || rulename, array[relname], pg_get_ruledef(r.oid)
		from ` + relations + ` join pg_rewrite r on ev_class = c.oid`},
	{"row security", "", "", refused, `
		select p.relname::text, array[p.relname::text], '' from pg_class p join ` + relations + ` using (oid) where p.relrowsecurity`},
	{"type", unknown, meaning, "", `
		select t.typname::text, array[]::text[], coalesce((select string_agg(enumlabel, ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid), '') ||
			coalesce((select format_type(typbasetype, typtypmod) || ' ' || coalesce(string_agg(pg_get_constraintdef(k.oid), ' ' order by conname), '')
				from pg_constraint k where contypid = t.oid), '')
		from pg_type t where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')`},
	{"function", unknown, meaning, "", `
		select oid::regprocedure::text, array[]::text[], concat_ws(' ', 'returns', pg_get_function_result(oid), case when prosecdef then 'security definer' end,
			'settings', proconfig::text, 'body', md5(prosrc))
		from pg_proc p where pronamespace = 'public'::regnamespace
			and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')`},
	{"privilege", "the role of the services has it no more", "", "", `
		select may || ' on ' || relname, array[relname], '' from ` + relations + `,
			unnest(case relkind when 'S' then array['usage'] else array['select', 'insert', 'update', 'delete'] end) may
		where case relkind when 'S' then has_sequence_privilege($1, oid, may) else has_table_privilege($1, oid, may) end
		union all
		select 'execute on ' || oid::regprocedure::text, array[]::text[], '' from pg_proc
		where pronamespace = 'public'::regnamespace and has_function_privilege($1, oid, 'execute')`},
}

// Read reads the catalog of a database, with the privileges of the service's role.
func Read(ctx context.Context, conn *pgx.Conn, role string) (Catalog, error) {
	found := Catalog{}
	for _, k := range kinds {
		args := []any{role}
		if !strings.Contains(k.sql, "$1") {
			args = nil
		}
		rows, err := conn.Query(ctx, k.sql, args...)
		if err != nil {
			return nil, fmt.Errorf("read the catalog, %s: %w", k.name, err)
		}
		o := object{kind: k.name}
		_, err = pgx.ForEachRow(rows, []any{&o.name, &o.tables, &o.def}, func() error {
			found[k.name+" "+o.name] = o
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the catalog, %s: %w", k.name, err)
		}
	}
	return found, nil
}

// Compare returns what a migration has changed that may break code of the release
// before, sorted.
func Compare(before, after Catalog) (findings []Finding) {
	for _, k := range kinds {
		for key, was := range before {
			is, still := after[key]
			switch {
			case was.kind != k.name || gone(was, before, after):
			case !still && k.dropped != "":
				findings = append(findings, Finding{"dropped " + key, k.dropped})
			case still && is.def != was.def && k.changed != "":
				findings = append(findings, Finding{"changed " + key, fmt.Sprintf("%s; it was %q and is %q", k.changed, was.def, is.def)})
			}
		}
		for key, is := range after {
			if _, was := before[key]; was || is.kind != k.name {
				continue
			}
			if why := k.whyNotAdd(is, before); why != "" {
				findings = append(findings, Finding{"added " + key, why})
			}
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int { return cmp.Compare(a.What, b.What) })
	return findings
}

// gone reports whether an object went with its table, column or function, which is said already.
func gone(o object, before, after Catalog) bool {
	for _, table := range o.tables {
		if _, still := after["table "+table]; !still {
			return true
		}
	}
	if function, ok := strings.CutPrefix(o.name, "execute on "); ok {
		_, still := after["function "+function]
		return !still
	}
	_, was := before["column "+o.name]
	_, is := after["column "+o.name]
	return o.kind != "column" && was && !is
}

// whyNotAdd says what the release before suffers from a new object, or "".
func (k kind) whyNotAdd(o object, before Catalog) string {
	if _, was := before["column "+o.name]; k.name == "not null" && was {
		return refused
	} else if k.name == "required column" && was {
		return "" // its default was dropped, or null is not allowed any more
	}
	for _, table := range o.tables {
		if _, was := before["table "+table]; was {
			return k.added
		}
	}
	return ""
}
