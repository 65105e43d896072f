package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"quadrille.internal/platform/pgtx"
)

// Options say what to migrate and how.
type Options struct {
	// URL connects as the role that owns the database and all in it.
	URL string
	// Role is who the service runs as. It gets what Grants says.
	Role string
	// Name of the service, shown in pg_stat_activity.
	Name string
	// Own holds the service's migrations in a folder "migrations".
	Own fs.FS
	// Grants are the privileges of Role by table, where they are not "select, insert,
	// update, delete"; "" is none. The name of a function ends in "()".
	Grants map[string]string
	// AnyRole allows a superuser to migrate, and the service to run as the owner.
	AnyRole bool
	// LockTimeout bounds how long a migration waits for a lock, as all traffic waits
	// behind it then; 0 means 3 s.
	LockTimeout time.Duration
	// LockWait is for how long a lock that was not got is tried again; 0 means 10 min.
	LockWait time.Duration
	Log      *slog.Logger
}

const (
	// lockTimeout is longer than deadlock_timeout (1 s), after which autovacuum gives
	// way to one that waits, and shorter than the lock_timeout of the services (5 s),
	// whose statements wait behind a migration that waits.
	lockTimeout = 3 * time.Second
	lockWait    = 10 * time.Minute

	shortestPause = time.Second
	longestPause  = 20 * time.Second
)

// Migrate applies what is missing of the kit's migrations and of the service's, and
// gives the service's role its privileges. Commands that run at the same time wait
// for one another; one that has nothing to do changes nothing. Migrations that were
// applied stay applied when a later one fails.
func Migrate(ctx context.Context, o Options) error {
	o.LockTimeout = cmp.Or(o.LockTimeout, lockTimeout)
	o.LockWait = cmp.Or(o.LockWait, lockWait)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	parts, err := parts(o.Own)
	if err != nil {
		return err
	}
	s, err := openSession(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	m := &migration{Options: o, session: s, parts: parts}
	return m.run(ctx)
}

// migration is one run of Migrate.
type migration struct {
	Options
	*session
	parts []part
}

func (m *migration) run(ctx context.Context) error {
	if err := m.checkOwner(ctx); err != nil {
		return err
	}
	if err := m.lock(ctx, m.Log); err != nil {
		return err
	}
	if err := m.do(ctx, func(ctx context.Context, conn *pgx.Conn) error { return checkFloor(ctx, conn, m.parts) }); err != nil {
		return err
	}
	for _, p := range m.parts {
		if err := m.apply(ctx, p); err != nil {
			return fmt.Errorf("migrate %s tables: %w", p.name, err)
		}
	}
	if err := m.persist(ctx, func() error { return m.do(ctx, m.grant) }); err != nil {
		return fmt.Errorf("grant privileges to %s: %w", m.Role, err)
	}
	return m.warnOfInvalidIndexes(ctx)
}

// apply applies what is missing of one part, a migration at a time.
func (m *migration) apply(ctx context.Context, p part) error {
	store, err := database.NewStore(goose.DialectPostgres, p.table)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", m.db, p.files, goose.WithStore(store), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	for {
		current, target, err := provider.GetVersions(ctx)
		if err != nil {
			return err
		}
		if current >= target {
			// Also where the database is newer than the code. A number that was left out
			// is an error.
			_, err := provider.HasPending(ctx)
			return err
		}
		if err := m.persist(ctx, func() error { return m.applyOne(ctx, provider, p, current) }); err != nil {
			return err
		}
		// The services that run may need what it replaced, and the next one may wait long.
		if err := m.persist(ctx, func() error { return m.do(ctx, m.grantSoFar) }); err != nil {
			return fmt.Errorf("grant privileges to %s: %w", m.Role, err)
		}
	}
}

// applyOne applies the first migration after current.
func (m *migration) applyOne(ctx context.Context, provider *goose.Provider, p part, current int64) error {
	var next int64
	for _, v := range p.versions {
		if v > current {
			next = v
			break
		}
	}
	name, text, err := p.file(next)
	if err != nil {
		return err
	}
	wait := m.LockTimeout
	if onlyConcurrent(text) {
		// It waits for transactions to end, and nobody waits behind it meanwhile.
		wait = 0
	}
	if withoutTransaction(text) {
		if err := m.dropInvalidIndexes(ctx, text); err != nil {
			return err
		}
	}
	if err := m.setLockTimeout(ctx, wait); err != nil {
		return err
	}
	m.Log.InfoContext(ctx, "applying migration", "part", p.name, "migration", name)
	began, done := time.Now(), m.watch(ctx, name)
	_, err = provider.UpByOne(ctx)
	done()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.Log.InfoContext(ctx, "applied migration", "part", p.name, "migration", name, "took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// persist repeats a step that did not get a lock, with pauses in which the traffic
// that it held up goes on.
func (m *migration) persist(ctx context.Context, step func() error) error {
	deadline := time.Now().Add(m.LockWait)
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		err := step()
		if !pgtx.LockNotGot(err) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no lock within %s, as a transaction holds it (pg_stat_activity, xact_start): %w", m.LockWait, err)
		}
		m.Log.WarnContext(ctx, "a lock is taken, trying again", "pause", pause.String(), "err", err)
		if err := pgtx.Sleep(ctx, pause); err != nil {
			return errors.Join(err, errors.New("stopped while waiting for a lock"))
		}
	}
}
