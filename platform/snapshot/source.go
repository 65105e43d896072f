package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/sweep"
)

const (
	// Many changes of a key within this time are one event.
	sweepEvery   = time.Second
	sweepMarks   = 2_000
	sweepTimeout = 5 * time.Second

	// maxPage bounds a page of the snapshot; defaultPage is what is not asked for.
	maxPage, defaultPage = 1_000, 500
)

// Source is the owner's side. It has two tables: what is published, and the keys whose
// state may have changed since, each any number of times:
//
//	create table NAME (key text primary key, version bigint not null, deleted boolean not null, value jsonb);
//	create table NAME_changes (id bigint generated always as identity primary key, key text not null);
//
// A trigger, or the code that changes a state, adds the key to the second in the same
// transaction. That is all that a change costs; the sweep publishes the newest state of
// each key, so many changes in a short time are one event. Rows are never deleted: one
// of a deleted key is its tombstone.
type Source[T any] struct {
	// Table is the first table's name.
	Table string
	// Read returns the present state of keys. A key that it leaves out is deleted.
	Read func(ctx context.Context, db aggregate.Querier, keys []string) (map[string]T, error)
	// PerEvent is how many states one event tells at most; 0 means one. Where keys
	// change often and states are small, many in one cost a fraction: the outbox, the
	// sidecar and the broker work by the event.
	PerEvent int
	// Event tells states: of different keys, by key, one at least.
	Event func([]State[T]) events.Event
}

// Run publishes until ctx ends. Replicas share the work.
func (s *Source[T]) Run(ctx context.Context, o *outbox.Outbox, log *slog.Logger) error {
	marked := sweep.New(sweep.Config{Name: s.Table, Every: sweepEvery, Timeout: sweepTimeout, Log: log},
		func(ctx context.Context) (bool, error) {
			marks, err := s.Sweep(ctx, o)
			return marks == sweepMarks, err
		})
	return marked.Run(ctx)
}

// Sweep publishes what keys are that were marked, and returns how many marks it took.
func (s *Source[T]) Sweep(ctx context.Context, o *outbox.Outbox) (marks int, err error) {
	err = o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		keys, err := s.take(ctx, tx)
		if marks = len(keys); err != nil || marks == 0 {
			return err
		}
		slices.Sort(keys)
		return s.publish(ctx, tx, slices.Compact(keys))
	})
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", s.Table, err)
	}
	return marks, nil
}

// take removes the oldest marks that no other replica is working on.
func (s *Source[T]) take(ctx context.Context, tx *outbox.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, fmt.Sprintf(`
		delete from %[1]s_changes where id = any(array(
			select id from %[1]s_changes order by id limit $1 for update skip locked))
		returning key`, s.Table), sweepMarks)
	if err != nil {
		return nil, fmt.Errorf("take marks: %w", err)
	}
	keys, err := pgtx.Collect(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("take marks: %w", err)
	}
	return keys, nil
}

// publish gives those of the keys that changed their next version, and emits it. Their
// rows are locked before the states are read. Otherwise another replica, which read
// earlier, could publish the older state as the newer version.
func (s *Source[T]) publish(ctx context.Context, tx *outbox.Tx, keys []string) error {
	if err := s.lock(ctx, tx, keys); err != nil {
		return err
	}
	values, err := s.Read(ctx, tx, keys)
	if err != nil {
		return err
	}
	present := make([]State[T], len(keys))
	for i, key := range keys {
		value, exists := values[key]
		present[i] = State[T]{Key: key, Deleted: !exists, Value: value}
	}
	changed, err := s.save(ctx, tx, present)
	if err != nil {
		return err
	}
	slices.SortFunc(changed, func(a, b State[T]) int { return strings.Compare(a.Key, b.Key) })
	for states := range slices.Chunk(changed, max(s.PerEvent, 1)) {
		if err := tx.Emit("", s.Event(states)); err != nil {
			return err
		}
	}
	return nil
}

// lock locks the rows of keys, and adds those that are not there.
func (s *Source[T]) lock(ctx context.Context, tx *outbox.Tx, keys []string) error {
	for {
		rows, err := tx.Query(ctx, fmt.Sprintf(`select key from %s where key = any($1) order by key for update`, s.Table), keys)
		if err != nil {
			return fmt.Errorf("lock keys: %w", err)
		}
		locked, err := pgtx.Collect(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("lock keys: %w", err)
		}
		if len(locked) == len(keys) {
			return nil
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf(`
			insert into %s (key, version, deleted)
			select key, 0, true from unnest($1::text[]) key order by key on conflict do nothing`, s.Table), keys); err != nil {
			return fmt.Errorf("add keys: %w", err)
		}
	}
}

// save writes the states that differ from what is published, and returns these with
// their versions.
func (s *Source[T]) save(ctx context.Context, tx *outbox.Tx, present []State[T]) ([]State[T], error) {
	rows, err := encode(present)
	if err != nil {
		return nil, err
	}
	found, err := tx.Query(ctx, fmt.Sprintf(`
		update %s t set version = t.version + 1, deleted = n.deleted, value = n.value
		from json_to_recordset($1) n (key text, deleted boolean, value jsonb)
		where t.key = n.key and (t.deleted, t.value) is distinct from (n.deleted, n.value)
		returning t.key, t.version, t.deleted, t.value`, s.Table), rows)
	if err != nil {
		return nil, fmt.Errorf("save states: %w", err)
	}
	return collect[T](found)
}

func collect[T any](found pgx.Rows) ([]State[T], error) {
	rows, err := pgtx.Collect(found, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read states: %w", err)
	}
	states := make([]State[T], len(rows))
	for i, r := range rows {
		states[i] = State[T]{Key: r.Key, Version: r.Version, Deleted: r.Deleted}
		if r.Deleted {
			continue
		}
		if err := json.Unmarshal(r.Value, &states[i].Value); err != nil {
			return nil, fmt.Errorf("decode %s: %w", r.Key, err)
		}
	}
	return states, nil
}

// Page returns up to size states (0: a default; more than 1,000 are not given) of the
// keys behind token, by key, and the token of the next page, which is "" behind the
// last. Each state is the newest that is committed. Keys that are added behind the
// token meanwhile come as events.
func (s *Source[T]) Page(ctx context.Context, db aggregate.Querier, token string, size int) ([]State[T], string, error) {
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	found, err := db.Query(ctx, fmt.Sprintf(`
		select key, version, deleted, value from %s where key > $1 and version > 0 order by key limit $2`, s.Table), token, size)
	if err != nil {
		return nil, "", fmt.Errorf("read page of %s: %w", s.Table, err)
	}
	states, err := collect[T](found)
	if err != nil || len(states) < size {
		return states, "", err
	}
	return states, states[len(states)-1].Key, nil
}
