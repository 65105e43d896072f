package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/schema"
	"quadrille.internal/platform/telemetry"
)

// The exit codes of Command.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

const usage = `%[1]s is a service of Quadrille. Its settings are environment variables.

usage:
  %[1]s [run]     run the service until SIGTERM
  %[1]s migrate   bring the database up to date, then end. It wants
                  QUADRILLE_MIGRATE_DATABASE_URL (or ..._URL_FILE), of the role that owns
                  the database, and QUADRILLE_DATABASE_ROLE, the role that the service
                  runs as (default: the user of QUADRILLE_DATABASE_URL)
`

// Command carries out a command line and returns the exit code.
func Command(
	ctx context.Context, spec Spec, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer,
) int {
	verb := "run"
	if len(args) > 0 {
		verb = args[0]
	}
	do := Run
	switch verb {
	case "run":
	case "migrate":
		do = Migrate
	case "help", "-h", "-help", "--help":
		fmt.Fprintf(stdout, usage, spec.Name)
		return exitOK
	default:
		fmt.Fprintf(stderr, "%s: there is no command %q\n\n"+usage, spec.Name, verb)
		return exitUsage
	}
	if len(args) > 1 {
		fmt.Fprintf(stderr, "%s %s takes no arguments, got %q\n\n"+usage, spec.Name, verb, args[1:])
		return exitUsage
	}
	if err := do(ctx, spec, lookup, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", spec.Name, err)
		return exitFailed
	}
	return exitOK
}

// Migrate brings the database of a service up to date. lookup gives the environment,
// logs go to w.
func Migrate(ctx context.Context, spec Spec, lookup func(string) (string, bool), w io.Writer) error {
	r := config.NewReader(lookup)
	o := schema.Options{
		URL:         r.Secret("QUADRILLE_MIGRATE_DATABASE_URL").Reveal(),
		Name:        spec.Name,
		Own:         spec.Migrations,
		Grants:      spec.Grants,
		AnyRole:     readPrivileges(r) == anyPrivileges,
		LockTimeout: r.Duration("QUADRILLE_MIGRATE_LOCK_TIMEOUT", 3*time.Second),
		Patience:    r.Duration("QUADRILLE_MIGRATE_PATIENCE", 10*time.Minute),
		Log:         telemetry.NewLog(w, slog.LevelInfo, spec.Name),
	}
	o.Role = r.String("QUADRILLE_DATABASE_ROLE", userOf(r.OptionalSecret("QUADRILLE_DATABASE_URL")))
	if o.Role == "" && !o.AnyRole {
		r.Fault("QUADRILLE_DATABASE_ROLE", fmt.Errorf("is not set; set it to the role that %s runs as", spec.Name))
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	began := time.Now()
	if err := schema.Migrate(ctx, o); err != nil {
		return err
	}
	o.Log.InfoContext(ctx, "the schema is up to date", "took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

func userOf(database config.Secret) string {
	u, err := url.Parse(database.Reveal())
	if err != nil {
		return ""
	}
	return u.User.Username()
}

const anyPrivileges = "any"

// readPrivileges says whether a role that may change the schema is refused. A service
// that runs as owner or superuser works, and nothing says that its append-only tables
// and triggers protect nothing: so it must be asked for.
func readPrivileges(r *config.Reader) string {
	return r.Choice("QUADRILLE_DATABASE_PRIVILEGES", "least", "least", anyPrivileges)
}

// prepare waits for the database, and for a schema that the service can work with. It
// changes nothing: that is for Migrate, whose role may.
func (p *process) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := pgtx.Await(ctx, p.pool); err != nil {
		return err
	}
	if p.set.pooled {
		if err := pgtx.CheckPooler(ctx, p.pool); err != nil {
			return fmt.Errorf("QUADRILLE_DATABASE_POOLER=transaction: %w", err)
		}
	}
	anyRole := p.set.privileges == anyPrivileges
	if anyRole {
		p.log.WarnContext(ctx, "the database role may have any privilege: append-only tables and triggers protect nothing")
	}
	return schema.Await(ctx, p.pool, schema.CheckOptions{
		Own: p.spec.Migrations, Command: p.spec.Name + " migrate", AnyRole: anyRole, Log: p.log,
	})
}
