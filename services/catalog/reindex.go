package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/services/catalog/search"
)

const (
	buildEvery   = time.Second
	buildTimeout = 20 * time.Second
	buildLease   = 30 * time.Second
	fillBatch    = 500
	// searchesEnd is how long a search in an index may go on after another became live.
	searchesEnd = 15 * time.Second
)

// builder builds indexes: the first one, one in place of an index that missed something, and
// one when an operator asks. It is filled beside the live one while both get all changes, and
// then takes its place at once, so that no search misses a hit.
type builder struct {
	pool   *pgxpool.Pool
	engine search.Engine
	log    *slog.Logger
	// currency is that of the prices in the index.
	currency string
	// searchesEnd is that of the constant outside tests.
	searchesEnd time.Duration
}

func (b *builder) sweep() *sweep.Sweep {
	return sweep.New(sweep.Config{Name: "search indexes", Every: buildEvery, Timeout: buildTimeout, Log: b.log}, b.step)
}

// index is a row of the table of indexes.
type index struct {
	Name, Status, FilledTo string
	Checkpoint             int64
	Stale, Ended           bool
}

// step does the next thing that is due, and reports whether there is more.
func (b *builder) step(ctx context.Context) (more bool, err error) {
	all, err := b.indexes(ctx)
	if err != nil {
		return false, err
	}
	var live, building, created *index
	for i, x := range all {
		switch x.Status {
		case "new":
			created = &all[i]
		case "live":
			live = &all[i]
		case "building":
			building = &all[i]
		default:
			if err := b.drop(ctx, &all[i]); err != nil {
				return false, err
			}
		}
	}
	for _, x := range []*index{live, building} {
		if x == nil || x.Stale {
			continue
		}
		if x.Stale, err = lost(ctx, b.pool, b.engine, b.log, x.Name, x.Checkpoint); err != nil {
			return false, err
		}
	}
	switch {
	case building != nil && building.Stale:
		return true, b.abandon(ctx, building)
	case building != nil:
		return b.fill(ctx, building)
	case created != nil:
		return b.create(ctx, created)
	case live == nil || live.Stale:
		err := b.begin(ctx)
		if errors.Is(err, errBuilding) {
			return false, nil
		}
		return err == nil, err
	default:
		return false, nil
	}
}

func (b *builder) indexes(ctx context.Context) ([]index, error) {
	rows, err := b.pool.Query(ctx, `
		select name, status, filled_to, checkpoint, stale, coalesce(retired_at < now() - $2::interval, false)
		from search_indexes where engine = $1 order by name`, b.engine.Name(), b.searchesEnd)
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	return all, nil
}

// claim takes an index for one step of its life; others who would do the same leave it. A step
// ends, or is given up, before its lease does.
func (b *builder) claim(ctx context.Context, x *index) (mine bool, err error) {
	tag, err := b.pool.Exec(ctx, `update search_indexes set claimed_until = now() + $2
		where name = $1 and status = $3 and filled_to = $4 and claimed_until < now()`, x.Name, buildLease, x.Status, x.FilledTo)
	if err != nil {
		return false, fmt.Errorf("claim index %s: %w", x.Name, err)
	}
	return tag.RowsAffected() > 0, nil
}

// release gives an index back whose step failed, and returns why.
func (b *builder) release(ctx context.Context, x *index, why error) error {
	_, err := b.pool.Exec(ctx, `update search_indexes set claimed_until = '-infinity' where name = $1 and status = $2`, x.Name, x.Status)
	return errors.Join(why, err)
}

// drop deletes an index once no search is left in it.
func (b *builder) drop(ctx context.Context, x *index) error {
	if !x.Ended {
		return nil
	}
	if mine, err := b.claim(ctx, x); err != nil || !mine {
		return err
	}
	if err := b.engine.Drop(ctx, x.Name); err != nil {
		return b.release(ctx, x, err)
	}
	if _, err := b.pool.Exec(ctx, `delete from search_indexes where name = $1 and status = 'retiring'`, x.Name); err != nil {
		return fmt.Errorf("forget index %s: %w", x.Name, err)
	}
	return nil
}

// lost reports whether an index has less than it has confirmed, and notes that then: a server
// lost it, or has brought it back from an older time. It is searched until another is built.
func lost(ctx context.Context, pool *pgxpool.Pool, engine search.Engine, log *slog.Logger, index string, confirmed int64) (bool, error) {
	has, err := engine.Checkpoint(ctx, index)
	if err != nil {
		return false, fmt.Errorf("check the search index: %w", err)
	}
	if has >= confirmed {
		return false, nil
	}
	log.WarnContext(ctx, "the search index has lost what it had confirmed, another is built", "index", index, "confirmed", confirmed, "has", has)
	if _, err := pool.Exec(ctx, `update search_indexes set stale = true where name = $1`, index); err != nil {
		return false, fmt.Errorf("mark index %s: %w", index, err)
	}
	return true, nil
}

// abandon gives up an index that was being built and lost something.
func (b *builder) abandon(ctx context.Context, x *index) error {
	_, err := b.pool.Exec(ctx, `update search_indexes set status = 'retiring', retired_at = now() where name = $1 and status = 'building'`, x.Name)
	if err != nil {
		return fmt.Errorf("give up index %s: %w", x.Name, err)
	}
	return nil
}

var errBuilding = fault.New(fault.Conflict, "reindex_under_way", "An index is being built already, or the last one is still being cleared.")

// begin has an index built.
func (b *builder) begin(ctx context.Context) error {
	all, err := b.indexes(ctx)
	if err != nil {
		return err
	}
	taken := make([]string, len(all))
	for i, x := range all {
		taken[i] = x.Name
	}
	name, err := b.engine.Propose(taken)
	if errors.Is(err, search.ErrTaken) {
		return errBuilding
	}
	if err != nil {
		return err
	}
	tag, err := b.pool.Exec(ctx, `insert into search_indexes (name, engine, status) values ($1, $2, 'new') on conflict do nothing`, name, b.engine.Name())
	if err != nil {
		return fmt.Errorf("note index %s: %w", name, err)
	}
	if tag.RowsAffected() == 0 {
		return errBuilding
	}
	b.log.InfoContext(ctx, "building a search index", "index", name)
	return nil
}

// create makes the index itself. From the commit on all changes go to it too.
func (b *builder) create(ctx context.Context, x *index) (more bool, err error) {
	if mine, err := b.claim(ctx, x); err != nil || !mine {
		return false, err
	}
	if err := b.engine.Create(ctx, x.Name); err != nil {
		return false, b.release(ctx, x, fmt.Errorf("create index %s: %w", x.Name, err))
	}
	if _, err := b.pool.Exec(ctx, `update search_indexes set status = 'building', claimed_until = '-infinity' where name = $1 and status = 'new'`, x.Name); err != nil {
		return false, fmt.Errorf("note index %s: %w", x.Name, err)
	}
	return true, nil
}

// fill writes the next products into the index that is being built, and makes it live behind
// the last. Replicas take turns.
func (b *builder) fill(ctx context.Context, x *index) (more bool, err error) {
	if mine, err := b.claim(ctx, x); err != nil || !mine {
		return false, err
	}
	ids, docs, err := b.next(ctx, x.FilledTo)
	if err == nil && len(docs) > 0 {
		err = b.write(ctx, x.Name, docs)
	}
	if err != nil {
		return false, b.release(ctx, x, err)
	}
	if len(ids) == 0 {
		return true, b.swap(ctx, x.Name)
	}
	if _, err = b.pool.Exec(ctx, `update search_indexes set claimed_until = '-infinity', filled_to = $2 where name = $1`, x.Name, ids[len(ids)-1]); err != nil {
		return false, fmt.Errorf("note how far index %s is filled: %w", x.Name, err)
	}
	return true, nil
}

// next returns the documents of the next products, all read at one moment.
func (b *builder) next(ctx context.Context, behind string) (ids []string, docs []search.Document, err error) {
	err = pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select id from products where id > $1 order by id limit $2`, behind, fillBatch)
		if err != nil {
			return err
		}
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(ids) == 0 {
			return err
		}
		s, err := readSource(ctx, tx, ids)
		docs = s.documents(ids, b.currency)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read products to fill an index: %w", err)
	}
	return ids, docs, nil
}

func (b *builder) write(ctx context.Context, name string, docs []search.Document) error {
	failed, err := b.engine.Write(ctx, name, docs, 0)
	if err != nil {
		return fmt.Errorf("fill index %s: %w", name, err)
	}
	if len(failed) == 0 {
		return nil
	}
	// What passes is waited for: searches use the index as soon as it is filled.
	for id, err := range failed {
		if errors.Is(err, search.ErrUnavailable) {
			return fmt.Errorf("fill index %s with %s: %w", name, id, err)
		}
	}
	// Among the changes they are tried again, and hold up no others.
	if _, err := b.pool.Exec(ctx, `insert into search_changes (product_id) select unnest($1::text[])`, sortedKeys(failed)); err != nil {
		return fmt.Errorf("note what index %s refused: %w", name, err)
	}
	return nil
}

// swap makes an index live.
func (b *builder) swap(ctx context.Context, name string) error {
	if err := b.engine.Point(ctx, name); err != nil {
		return fmt.Errorf("have searches use index %s: %w", name, err)
	}
	err := pgtx.Run(ctx, b.pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update search_indexes set status = 'retiring', retired_at = now() where engine = $1 and status = 'live'`, b.engine.Name()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `update search_indexes set status = 'live', claimed_until = '-infinity' where name = $1 and status = 'building'`, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("make index %s live: %w", name, err)
	}
	b.log.InfoContext(ctx, "a search index is live", "index", name)
	return nil
}
