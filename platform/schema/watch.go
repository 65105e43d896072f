package schema

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	watchAfter  = time.Second
	watchEvery  = 10 * time.Second
	watchAnswer = 3 * time.Second
)

// doing is what a session waits for, and how far an index is.
const doing = `
	select coalesce(a.wait_event_type, ''), coalesce(array_to_string(pg_blocking_pids(a.pid), ','), ''),
		coalesce(p.phase, ''), coalesce(100 * p.blocks_done / nullif(p.blocks_total, 0), 0)
	from pg_stat_activity a left join pg_stat_progress_create_index p on p.pid = a.pid
	where a.pid = $1`

// watch logs what a migration is doing while it takes long, until the returned
// function is called. It has a connection of its own, and does without if it gets none.
func (m *migration) watch(ctx context.Context, name string) (done func()) {
	var pid uint32
	_ = m.do(ctx, func(_ context.Context, conn *pgx.Conn) error { pid = conn.PgConn().PID(); return nil })
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		began, next := time.Now(), time.NewTimer(watchAfter)
		defer next.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
				m.look(ctx, name, pid, began)
				next.Reset(watchEvery)
			}
		}
	}()
	return func() { cancel(); <-ended }
}

func (m *migration) look(ctx context.Context, name string, pid uint32, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, watchAnswer)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, m.cfg)
	if err != nil {
		return
	}
	defer conn.Close(ctx) //nolint:errcheck // it only looks
	var waits, blockers, phase string
	var percent int64
	if err := conn.QueryRow(ctx, doing, pid).Scan(&waits, &blockers, &phase, &percent); err != nil {
		return
	}
	attrs := []any{"migration", name, "running", time.Since(began).Round(time.Second).String()}
	if waits == "Lock" {
		attrs = append(attrs, "waits_for_pids", blockers)
	}
	if phase != "" {
		attrs = append(attrs, "phase", phase, "percent", percent)
	}
	m.Log.InfoContext(ctx, "still applying migration", attrs...)
}
