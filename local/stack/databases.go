package stack

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
)

// ownerOf is the role that owns an app's database and migrates it. The app itself
// runs as a role that is called as it is.
func ownerOf(app string) string { return app + "_owner" }

// createDatabases gives each service a database, a role that owns it and one to run
// as, and the auditor the right to read them all. It may be repeated.
func (s *Stack) createDatabases(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))

	if err := s.createRole(ctx, conn, auditor); err != nil {
		return err
	}
	for _, sql := range audit.Rights(auditor) {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("create the auditor: %w", err)
		}
	}
	for _, app := range s.WithDatabase() {
		if err := s.createServiceDatabase(ctx, conn, app); err != nil {
			return err
		}
	}
	if s.OneProcess() {
		return nil // b2b's database has the workflows
	}
	return s.createStateStore(ctx, conn)
}

func (s *Stack) createServiceDatabase(ctx context.Context, conn *pgx.Conn, app string) error {
	for _, role := range []string{app, ownerOf(app)} {
		if err := s.createRole(ctx, conn, role); err != nil {
			return err
		}
	}
	if err := createDatabase(ctx, conn, app, ownerOf(app)); err != nil {
		return fmt.Errorf("create database %s: %w", app, err)
	}
	if err := s.handOver(ctx, conn, app); err != nil {
		return fmt.Errorf("give what is in database %s to its owner: %w", app, err)
	}
	// Migrate grants the rest, but only an administrator what comes before.
	if _, err := conn.Exec(ctx, fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %[1]s", quote(app))); err != nil {
		return fmt.Errorf("let %s connect to its database: %w", app, err)
	}
	for name, url := range map[string]string{
		app + "-owner.url": s.OwnerURL(app), app + ".url": s.DatabaseURL(app), auditorFile(app): s.AuditorURL(app),
	} {
		if err := s.writeSecret(name, url); err != nil {
			return err
		}
	}
	return nil
}

// createStateStore lets one role own the workflows' checkpoints: daprd makes and
// migrates their tables itself.
func (s *Stack) createStateStore(ctx context.Context, conn *pgx.Conn) error {
	if err := s.createRole(ctx, conn, stateStore); err != nil {
		return err
	}
	if err := createDatabase(ctx, conn, stateStore, stateStore); err != nil {
		return fmt.Errorf("create database %s: %w", stateStore, err)
	}
	return s.writeSecret(stateStore+".url", s.DatabaseURL(stateStore))
}

// handOver gives the owner what belongs to the app's role: in stacks of earlier
// releases one role did everything.
func (s *Stack) handOver(ctx context.Context, conn *pgx.Conn, app string) error {
	const owns = `SELECT EXISTS (SELECT FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
		WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = $1 AND d.deptype = 'o')`
	var something bool
	if err := conn.QueryRow(ctx, owns, app).Scan(&something); err != nil || !something {
		return err
	}
	u := *s.postgres.superuser
	u.Path = "/" + app
	there, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer there.Close(context.WithoutCancel(ctx))
	_, err = there.Exec(ctx, fmt.Sprintf("REASSIGN OWNED BY %s TO %s", quote(app), quote(ownerOf(app))))
	return err
}

func (s *Stack) createRole(ctx context.Context, conn *pgx.Conn, name string) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&exists); err != nil {
		return fmt.Errorf("look for role %s: %w", name, err)
	}
	verb := "CREATE"
	if exists {
		verb = "ALTER"
	}
	// Utility statements take no parameters; the password is hexadecimal.
	sql := fmt.Sprintf("%s ROLE %s LOGIN PASSWORD '%s'", verb, quote(name), s.passwords[name])
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("create role %s: %w", name, err)
	}
	return nil
}

func createDatabase(ctx context.Context, conn *pgx.Conn, name, owner string) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return err
	}
	verb := "CREATE DATABASE %s OWNER %s"
	if exists {
		verb = "ALTER DATABASE %s OWNER TO %s"
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(verb, quote(name), quote(owner))); err != nil {
		return err
	}
	for _, sql := range []string{
		"REVOKE CONNECT ON DATABASE %s FROM PUBLIC", // no service looks into another's
		"GRANT CONNECT ON DATABASE %s TO auditor",
	} {
		if _, err := conn.Exec(ctx, fmt.Sprintf(sql, quote(name))); err != nil {
			return err
		}
	}
	return nil
}
