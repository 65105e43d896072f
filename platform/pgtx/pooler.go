package pgtx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CheckPooler returns an error, with the statements that mend it, where the session
// settings of a pool behind a pooler are not those that Open gives to others.
//
// A pooler in transaction mode lends a server connection for one transaction.
// PgBouncer refuses start-up parameters it does not know, so the settings must be
// defaults of the role; and named prepared statements may be on another connection
// (before PgBouncer 1.21), so statements are sent unnamed, to be parsed and planned
// each time.
func CheckPooler(ctx context.Context, pool *pgxpool.Pool) error {
	var mend []string
	for _, name := range slices.Sorted(maps.Keys(sessionSettings)) {
		want := sessionSettings[name]
		var role, database, got string
		err := pool.QueryRow(ctx, `select session_user, current_database(), current_setting($1)`, name).Scan(&role, &database, &got)
		if err != nil {
			return fmt.Errorf("read setting %s: %w", name, err)
		}
		if got != want {
			mend = append(mend, fmt.Sprintf("alter role %s in database %s set %s = '%s';",
				pgx.Identifier{role}.Sanitize(), pgx.Identifier{database}.Sanitize(), name, want))
		}
	}
	if mend != nil {
		return fmt.Errorf("a pooler takes no settings from its clients; run this on the server, then RECONNECT on the pooler:\n%s",
			strings.Join(mend, "\n"))
	}
	return nil
}

// refusesParameters tells PgBouncer's refusal of our settings from its other errors,
// which have the same SQLSTATE and may pass.
func refusesParameters(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "08P01" && strings.Contains(pg.Message, "unsupported startup parameter")
}

// takeCredentials has a new connection use the user and password that url names now.
func takeCredentials(c *pgx.ConnConfig, url func() (string, error)) {
	now, err := url()
	if err != nil {
		return // a file that is just being replaced; a login that fails says so itself
	}
	if cfg, err := pgx.ParseConfig(now); err == nil {
		c.User, c.Password = cfg.User, cfg.Password
	}
}
