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

// Migration brings the database of a service up to date.
type Migration struct{ options schema.Options }

// NewMigration reads the settings of a migration. Faults are noted in r; logs go to w.
func NewMigration(spec Spec, r *config.Reader, w io.Writer) Migration {
	own := r.Own()
	o := schema.Options{
		URL:         own.Secret("QUADRILLE_MIGRATE_DATABASE_URL").Reveal(),
		Name:        spec.Name,
		Own:         spec.Migrations,
		Grants:      spec.Grants,
		AnyRole:     readPrivileges(r) == anyPrivileges,
		LockTimeout: r.Duration("QUADRILLE_MIGRATE_LOCK_TIMEOUT", 3*time.Second),
		LockWait:    r.Duration("QUADRILLE_MIGRATE_PATIENCE", 10*time.Minute),
		Log:         telemetry.NewLog(w, slog.LevelInfo, spec.Name),
	}
	o.Role = own.String("QUADRILLE_DATABASE_ROLE", userOf(own.OptionalSecret("QUADRILLE_DATABASE_URL")))
	if o.Role == "" && !o.AnyRole {
		own.Fault("QUADRILLE_DATABASE_ROLE", fmt.Errorf("is not set; set it to the role that %s runs as", spec.Name))
	}
	return Migration{o}
}

// Run runs it.
func (m Migration) Run(ctx context.Context) error {
	o, began := m.options, time.Now()
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

func (s *Instance) awaitDatabase(ctx context.Context) error {
	if err := pgtx.Await(ctx, s.pool); err != nil {
		return err
	}
	if s.set.pooled {
		if err := pgtx.CheckPooler(ctx, s.pool); err != nil {
			return fmt.Errorf("QUADRILLE_DATABASE_POOLER=transaction: %w", err)
		}
	}
	anyRole := s.set.privileges == anyPrivileges
	if anyRole {
		s.log.WarnContext(ctx, "the database role may have any privilege: append-only tables and triggers protect nothing")
	}
	return schema.Await(ctx, s.pool, schema.CheckOptions{
		Own: s.spec.Migrations, Command: s.host.Migrate, AnyRole: anyRole, Log: s.log,
	})
}
