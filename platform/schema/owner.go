package schema

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// checkOwner refuses roles with which the service would end up with too much or too
// little: what migrations make belongs to the role that runs them.
func (m *migration) checkOwner(ctx context.Context) error {
	return m.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		const sql = `
			select current_user, current_database(), (select rolsuper from pg_roles where rolname = current_user),
				coalesce((select string_agg(distinct pg_get_userbyid(c.relowner), ', ') from pg_class c
					where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
						and not pg_has_role(c.relowner, 'usage')), ''),
				exists (select from pg_roles where rolname = $1 and pg_has_role(oid, current_user, 'member'))`
		var user, database, strangers string
		var super, member bool
		if err := conn.QueryRow(ctx, sql, m.Role).Scan(&user, &database, &super, &strangers, &member); err != nil {
			return fmt.Errorf("look at the owners of tables: %w", err)
		}
		if super && !m.AnyRole {
			return fmt.Errorf("%s, which migrates database %q, is a superuser: use a role that owns this database only, or set QUADRILLE_DATABASE_PRIVILEGES=any",
				user, database)
		}
		if member && !m.AnyRole {
			return fmt.Errorf("the service's role %s is %s, which migrates database %q, or a member of it: give the service a role of its own, or set QUADRILLE_DATABASE_PRIVILEGES=any",
				m.Role, user, database)
		}
		if strangers != "" {
			return fmt.Errorf("database %q has tables of %s, not of %s, which migrates; as superuser, in that database: reassign owned by %s to %s",
				database, strangers, user, strangers, user)
		}
		return nil
	})
}
