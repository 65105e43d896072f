package schema

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// invalidIndexes are those that a "create index concurrently" or "reindex
// concurrently" left when it was stopped: they cost writes and serve no query. Those
// that are being built right now are not among them, nor those of partitioned tables,
// which are invalid until each partition has its own.
const invalidIndexes = `
	select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
	where not i.indisvalid and c.relkind = 'i' and c.relnamespace = 'public'::regnamespace
		and not exists (select from pg_stat_progress_create_index p where p.index_relid = c.oid)
	order by 1`

func (m *migration) invalid(ctx context.Context) (names []string, err error) {
	err = m.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, invalidIndexes)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for invalid indexes: %w", err)
	}
	return names, nil
}

// dropInvalidIndexes drops those that the migration is about to build: "create index
// concurrently if not exists" would leave them as they are.
func (m *migration) dropInvalidIndexes(ctx context.Context, migration string) error {
	names, err := m.invalid(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.Contains(migration, name) {
			continue
		}
		m.Log.WarnContext(ctx, "dropping an index that an earlier run left unfinished", "index", name)
		if err := m.setLockTimeout(ctx, 0); err != nil {
			return err
		}
		if _, err := m.db.ExecContext(ctx, `drop index concurrently if exists `+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("drop unfinished index %s: %w", name, err)
		}
	}
	return nil
}

func (m *migration) warnOfInvalidIndexes(ctx context.Context) error {
	names, err := m.invalid(ctx)
	for _, name := range names {
		m.Log.WarnContext(ctx, "an index is unfinished: it costs writes and serves no query; drop it, or reindex index concurrently", "index", name)
	}
	return err
}
