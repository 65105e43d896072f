package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/services/catalog/search"
)

const (
	// indexEvery is how often changes are looked for that this replica was not told of.
	indexEvery   = 250 * time.Millisecond
	indexTimeout = 20 * time.Second
	// indexLease is how long the changes of a batch belong to who took them: longer than
	// indexTimeout, so that they are not written twice as a rule. Twice does no harm.
	indexLease = 30 * time.Second
	indexBatch = 500
)

// indexer writes into the index what changed in the catalog. The changes were noted with
// what caused them, so none is lost; each is forgotten once the index has confirmed it.
type indexer struct {
	pool   *pgxpool.Pool
	engine search.Engine
	log    *slog.Logger
	lag    *telemetry.Durations
	// currency is that of the prices in the index.
	currency string
}

// sweep returns what works until it is told to stop.
func (x *indexer) sweep() *sweep.Sweep {
	return sweep.New(sweep.Config{Name: "search changes", Every: indexEvery, Timeout: indexTimeout, Log: x.log}, x.batch)
}

// work is a batch of changes that were claimed.
type work struct {
	changes    []change
	docs       []search.Document
	indexes    []target
	checkpoint int64
}

// target is an index to write to.
type target struct {
	Name string
	// Confirmed is the highest checkpoint that it has confirmed.
	Confirmed int64
	Stale     bool
}

type change struct {
	ID        int64
	ProductID string
	ChangedAt time.Time
}

// batch takes up one batch. The network is used between two transactions and in none.
func (x *indexer) batch(ctx context.Context) (more bool, err error) {
	w, err := x.claim(ctx)
	if err != nil || len(w.changes) == 0 {
		return false, err
	}
	failed := make(map[string]error)
	for _, index := range w.indexes {
		refused, err := x.write(ctx, index, w)
		if err != nil {
			return false, errors.Join(err, x.release(ctx, w))
		}
		for id, err := range refused {
			failed[id] = err
		}
	}
	if err := x.settle(ctx, w, failed); err != nil {
		return false, err
	}
	return len(w.changes) == indexBatch, nil
}

// write writes a batch to one index. Before the index has another checkpoint, it is looked at
// whether it still has the last: a higher one would hide what it has lost.
func (x *indexer) write(ctx context.Context, index target, w work) (refused map[string]error, err error) {
	if !index.Stale {
		if _, err := lost(ctx, x.pool, x.engine, x.log, index.Name, index.Confirmed); err != nil {
			return nil, err
		}
	}
	if refused, err = x.engine.Write(ctx, index.Name, w.docs, w.checkpoint); err != nil {
		return nil, fmt.Errorf("write to the search index: %w", err)
	}
	return refused, nil
}

// claim takes the oldest changes and makes their documents. A product's version is raised,
// which locks its row, before the product is read: of two replicas at the same product, the
// one with the higher version has read later. The indexes are read last: one whose building
// begins later is filled with all that these changes were about.
func (x *indexer) claim(ctx context.Context) (w work, err error) {
	err = pgtx.Run(ctx, x.pool, func(ctx context.Context, tx pgx.Tx) error {
		w = work{}
		if w.changes, err = takeChanges(ctx, tx); err != nil || len(w.changes) == 0 {
			return err
		}
		ids := make([]string, len(w.changes))
		for i, c := range w.changes {
			ids[i] = c.ProductID
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		if _, err := tx.Exec(ctx, `
			insert into search_versions as v (product_id, version) select id, 1 from unnest($1::text[]) id order by id
			on conflict (product_id) do update set version = v.version + 1`, ids); err != nil {
			return fmt.Errorf("raise versions: %w", err)
		}
		s, err := readSource(ctx, tx, ids)
		if err != nil {
			return err
		}
		w.docs = s.documents(ids, x.currency)
		w.indexes, w.checkpoint, err = x.targets(ctx, tx)
		if err == nil && len(w.indexes) == 0 {
			return search.ErrNotReady // nothing is claimed: the first index is about to be made
		}
		return err
	})
	if errors.Is(err, search.ErrNotReady) {
		return work{}, nil
	}
	return w, err
}

func takeChanges(ctx context.Context, tx pgx.Tx) ([]change, error) {
	rows, err := tx.Query(ctx, `
		update search_changes set claimed_until = now() + $2
		where id = any(array(
			select id from search_changes where claimed_until < now() order by id limit $1 for update skip locked))
		returning id, product_id, changed_at`, indexBatch, indexLease)
	if err != nil {
		return nil, fmt.Errorf("take changes: %w", err)
	}
	changes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[change])
	if err != nil {
		return nil, fmt.Errorf("take changes: %w", err)
	}
	return changes, nil
}

// targets are the indexes to write to. Those of other engines miss what is taken here.
func (x *indexer) targets(ctx context.Context, tx pgx.Tx) (indexes []target, checkpoint int64, err error) {
	if _, err := tx.Exec(ctx, `update search_indexes set stale = true where engine = any($1) and not stale`, search.Others(x.engine.Name())); err != nil {
		return nil, 0, fmt.Errorf("mark indexes of other engines: %w", err)
	}
	rows, err := tx.Query(ctx, `select name, checkpoint, stale from search_indexes where engine = $1 and status in ('building', 'live') order by name`, x.engine.Name())
	if err != nil {
		return nil, 0, fmt.Errorf("read indexes: %w", err)
	}
	if indexes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[target]); err != nil {
		return nil, 0, fmt.Errorf("read indexes: %w", err)
	}
	if err := tx.QueryRow(ctx, `select nextval('search_checkpoints')`).Scan(&checkpoint); err != nil {
		return nil, 0, fmt.Errorf("take a checkpoint: %w", err)
	}
	return indexes, checkpoint, nil
}

// release gives changes back at once, for who can write them.
func (x *indexer) release(ctx context.Context, w work) error {
	_, err := x.pool.Exec(ctx, `update search_changes set claimed_until = '-infinity' where id = any($1)`, w.ids(nil))
	if err != nil {
		return fmt.Errorf("give changes back: %w", err)
	}
	return nil
}

func (w *work) names() []string {
	names := make([]string, len(w.indexes))
	for i, index := range w.indexes {
		names[i] = index.Name
	}
	return names
}

func (w *work) ids(failed map[string]error) (ids []int64) {
	for _, c := range w.changes {
		if failed[c.ProductID] == nil {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// settle forgets the changes that are in the index. Those that it refused wait, longer each
// time, and hold up no others.
func (x *indexer) settle(ctx context.Context, w work, failed map[string]error) error {
	written := w.ids(failed)
	err := pgtx.Run(ctx, x.pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from search_changes where id = any($1)`, written); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update search_indexes set checkpoint = $2 where name = any($1) and checkpoint < $2`, w.names(), w.checkpoint); err != nil {
			return err
		}
		if len(failed) == 0 {
			return nil
		}
		_, err := tx.Exec(ctx, `
			update search_changes set attempts = attempts + 1,
				claimed_until = now() + least(interval '1 second' * 2 ^ least(attempts, 10), interval '10 minutes')
			where id = any($1) and product_id = any($2)`, w.ids(nil), sortedKeys(failed))
		return err
	})
	if err != nil {
		return fmt.Errorf("settle changes: %w", err)
	}
	for _, id := range sortedKeys(failed) {
		x.log.WarnContext(ctx, "the search index refused a product, will try again", "product_id", id, "err", failed[id])
	}
	now := time.Now()
	for _, c := range w.changes {
		if failed[c.ProductID] == nil {
			x.lag.Observe("", max(0, now.Sub(c.ChangedAt)))
		}
	}
	return nil
}

// waiting tells for how long the oldest change has waited for the index, in seconds, and how
// many wait.
func waiting(ctx context.Context, pool *pgxpool.Pool) (seconds, changes int64, err error) {
	err = pool.QueryRow(ctx, `
		select coalesce(extract(epoch from now() - min(changed_at)), 0)::bigint, count(*) from search_changes`).Scan(&seconds, &changes)
	return max(seconds, 0), changes, err
}
