package workflowengine

import (
	"context"
	"fmt"
	"time"

	"quadrille.internal/platform/pgtx"
)

const (
	purgeEvery = time.Minute
	purgeMax   = 500
)

// purgeUntil forgets workflows that ended long ago, until ctx ends.
func (s *store) purgeUntil(ctx context.Context) {
	for pgtx.Sleep(ctx, purgeEvery) == nil {
		s.patiently(ctx, "purge", s.purgeEnded)
	}
}

// purgeEnded forgets what is not kept any longer, some at a time so that no
// transaction is long.
func (s *store) purgeEnded(ctx context.Context) error {
	for {
		tag, err := s.pool.Exec(ctx, `
			delete from workflow_instances
			where id in (
				select id from workflow_instances
				where completed_at < now() - least($1::interval, $2::interval)
					and completed_at < now() - case when status = 'COMPLETED' then $1::interval else $2::interval end
				order by completed_at limit $3 for update skip locked)`, s.cfg.KeepCompleted, s.cfg.KeepFailed, purgeMax)
		if err != nil {
			return fmt.Errorf("purge workflows that have ended: %w", err)
		}
		if tag.RowsAffected() < purgeMax {
			return nil
		}
	}
}
