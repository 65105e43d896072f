// Package snapshot lets services keep copies of what another service owns, for longer than
// the broker keeps events.
//
// The owner numbers the states of each key, and publishes each state with its version
// (Source). It also serves all of them in pages, the snapshot. A consumer keeps the
// state with the highest version of each key (View), whether it came as an event or in
// a page. So events may be late, lost or repeated, in any order. A view that is new, or
// that missed events for longer than the broker keeps them, reads the snapshot while it
// handles events: what was committed before a page was read is in the page, what is
// committed later comes as an event.
package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// State is what a key is, or was, at a version.
type State[T any] struct {
	Key     string
	Version int64
	// Deleted says that the key is no more. Its states keep counting, so that an old
	// one does not bring it back.
	Deleted bool
	// Value is zero where the key is deleted.
	Value T
}

const pageTimeout = 10 * time.Second

// View is a consumer's copy. Its table has at least these columns:
//
//	key text primary key, version bigint not null, deleted boolean not null, value jsonb
type View[T any] struct {
	table string
}

// NewView describes the view in a table.
func NewView[T any](table string) *View[T] { return &View[T]{table} }

// Apply writes the states that are newer than what is there, with the commit. Any
// state may come at any time and any number of times.
func (v *View[T]) Apply(tx *pgtx.Tx, states ...State[T]) error {
	newest := slices.Clone(states)
	// By key, as every writer does: two that write the same rows cannot deadlock.
	slices.SortFunc(newest, func(a, b State[T]) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(b.Version, a.Version))
	})
	newest = slices.CompactFunc(newest, func(a, b State[T]) bool { return a.Key == b.Key })
	if len(newest) == 0 {
		return nil
	}
	rows, err := encode(newest)
	if err != nil {
		return fmt.Errorf("apply to %s: %w", v.table, err)
	}
	tx.Last(fmt.Sprintf(`
		insert into %[1]s as t (key, version, deleted, value)
		select key, version, deleted, value from json_to_recordset($1) n (key text, version bigint, deleted boolean, value jsonb)
		on conflict (key) do update set version = excluded.version, deleted = excluded.deleted, value = excluded.value
		where t.version < excluded.version`, v.table), rows)
	return nil
}

// row is a state as a table has it.
type row struct {
	Key     string          `json:"key"`
	Version int64           `json:"version"`
	Deleted bool            `json:"deleted"`
	Value   json.RawMessage `json:"value"`
}

func encode[T any](states []State[T]) ([]byte, error) {
	rows := make([]row, len(states))
	for i, s := range states {
		rows[i] = row{Key: s.Key, Version: s.Version, Deleted: s.Deleted}
		if s.Deleted {
			continue
		}
		value, err := json.Marshal(s.Value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", s.Key, err)
		}
		rows[i].Value = value
	}
	return json.Marshal(rows)
}

// Load applies a snapshot, of which page returns the part behind a token and the token
// of the next part, "" being first and last. Call it while events are already being
// applied. It may be called at any time, and again where it failed: it then starts at
// the beginning, which costs time and changes nothing.
func (v *View[T]) Load(ctx context.Context, pool *pgxpool.Pool, page func(ctx context.Context, token string) ([]State[T], string, error)) error {
	for token := ""; ; {
		next, err := v.loadPage(ctx, pool, token, page)
		if err != nil {
			return fmt.Errorf("load %s from page %q: %w", v.table, token, err)
		}
		if next == "" {
			return nil
		}
		token = next
	}
}

func (v *View[T]) loadPage(ctx context.Context, pool *pgxpool.Pool, token string, page func(context.Context, string) ([]State[T], string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	states, next, err := page(ctx, token)
	if err != nil || len(states) == 0 {
		return next, err
	}
	return next, pgtx.RunPiped(ctx, pool, func(_ context.Context, tx *pgtx.Tx) error { return v.Apply(tx, states...) })
}
