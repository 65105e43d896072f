package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// CheckOptions say what a service needs of its database.
type CheckOptions struct {
	// Own holds the service's migrations in a folder "migrations".
	Own fs.FS
	// Command brings the schema up to date. Errors name it.
	Command string
	// AnyRole lets the service run as a role that may change the schema.
	AnyRole bool
	Log     *slog.Logger
}

const (
	lookAgain   = 250 * time.Millisecond
	remindEvery = 10 * time.Second
)

// errBehind is what a migration mends that may be running.
var errBehind = errors.New("the schema is older than this program")

// Await returns when the schema is one that the code can work with. While it is too
// old it looks again, as the command that migrates may be running, until ctx ends. A
// schema that is newer is fine, unless it has contracted beyond this code. A role that
// may change the schema is refused.
func Await(ctx context.Context, pool *pgxpool.Pool, o CheckOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	parts, err := parts(o.Own)
	if err != nil {
		return err
	}
	var reminded time.Time
	var behind error // says more than that time is up
	for {
		err := check(ctx, pool, parts, o)
		if errors.Is(err, errBehind) {
			behind = err
		} else if !pgtx.Transient(err) {
			return err
		}
		if ctx.Err() != nil {
			return cmp.Or(behind, err)
		}
		if time.Since(reminded) > remindEvery {
			o.Log.WarnContext(ctx, "waiting for the schema", "err", err)
			reminded = time.Now()
		}
		_ = pgtx.Sleep(ctx, lookAgain) // when ctx ends, the next look does too
	}
}

func check(ctx context.Context, pool *pgxpool.Pool, parts []part, o CheckOptions) error {
	c := pool.Config().ConnConfig
	at := fmt.Sprintf("database %q at %s:%d", c.Database, c.Host, c.Port)
	if err := checkVersions(ctx, pool, parts, o); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if o.AnyRole {
		return nil
	}
	if err := checkRights(ctx, pool); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if err := checkGranted(ctx, pool, parts, o); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func checkVersions(ctx context.Context, db querier, parts []part, o CheckOptions) error {
	for _, p := range parts {
		has, err := applied(ctx, db, p)
		if errors.Is(err, errBehind) {
			return fmt.Errorf("%w; run `%s`", err, o.Command)
		}
		if err != nil {
			return err
		}
		if missing := missing(p.versions, has); len(missing) > 0 {
			return fmt.Errorf("%w: it lacks the %s migrations %s; run `%s`", errBehind, p.name, strings.Join(missing, ", "), o.Command)
		}
	}
	return checkFloor(ctx, db, parts)
}

// checkGranted waits for the privileges on what the migrations made, which come last.
func checkGranted(ctx context.Context, db querier, parts []part, o CheckOptions) error {
	var role string
	var granted bool
	err := db.QueryRow(ctx, `select current_user::text,
		exists (select from schema_grants where role = current_user and kit >= $1 and service >= $2)`,
		parts[0].version(), parts[1].version()).Scan(&role, &granted)
	if err != nil {
		return fmt.Errorf("look at the privileges of the service's role: %w", err)
	}
	if !granted {
		return fmt.Errorf("%w: role %q has not got its privileges yet; run `%s` for this role", errBehind, role, o.Command)
	}
	return nil
}

// applied returns the migrations that the database has.
func applied(ctx context.Context, db querier, p part) (map[int64]bool, error) {
	var exists, readable bool
	err := db.QueryRow(ctx, `select to_regclass($1) is not null and to_regclass('schema_floor') is not null,
		coalesce(has_table_privilege(to_regclass($1), 'select') and has_table_privilege(to_regclass('schema_floor'), 'select'), false)`,
		p.table).Scan(&exists, &readable)
	if err != nil || !exists {
		return nil, wrap("look for the table of migrations", err)
	}
	if !readable {
		return nil, fmt.Errorf("%w, or its role has got no privileges yet", errBehind)
	}
	rows, err := db.Query(ctx, `select version_id from `+p.table+` where is_applied`)
	if err != nil {
		return nil, wrap("read the migrations that were applied", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	has := make(map[int64]bool, len(list))
	for _, version := range list {
		has[version] = true
	}
	return has, wrap("read the migrations that were applied", err)
}

func missing(want []int64, has map[int64]bool) (missing []string) {
	for _, version := range want {
		if !has[version] {
			missing = append(missing, fmt.Sprintf("%05d", version))
		}
	}
	return missing
}

// checkFloor refuses code that is older than the schema allows.
func checkFloor(ctx context.Context, db querier, parts []part) error {
	var exists bool
	if err := db.QueryRow(ctx, `select to_regclass('schema_floor') is not null`).Scan(&exists); err != nil || !exists {
		return wrap("look for the schema's floor", err)
	}
	for _, p := range parts {
		var floor int64
		var reason string
		err := db.QueryRow(ctx, `select version, reason from schema_floor where part = $1`, p.name).Scan(&floor, &reason)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return wrap("read the schema's floor", err)
		}
		if floor > p.version() {
			return fmt.Errorf("the schema has moved on: it works with code that holds %s migration %05d at least (%s), and this code holds %05d; run a newer release",
				p.name, floor, reason, p.version())
		}
	}
	return nil
}

// checkRights refuses a role that could change the schema, for whom no trigger and no
// append-only table is a hindrance.
func checkRights(ctx context.Context, db querier) error {
	const sql = `
		select current_user::text,
			(select rolsuper from pg_roles where rolname = current_user),
			has_database_privilege(current_database(), 'create') or has_schema_privilege('public', 'create'),
			exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')
				and pg_has_role(relowner, 'member'))`
	var role string
	var super, create, owns bool
	if err := db.QueryRow(ctx, sql).Scan(&role, &super, &create, &owns); err != nil {
		return wrap("look at the rights of the service's role", err)
	}
	var what string
	switch {
	case super:
		what = "is a superuser"
	case owns:
		what = "owns tables"
	case create:
		what = "may create tables"
	default:
		return nil
	}
	return fmt.Errorf("role %q %s, so that it could change what it must only read or append to; "+
		"connect as a role without such rights, or set QUADRILLE_DATABASE_PRIVILEGES=any", role, what)
}

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
