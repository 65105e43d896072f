package aggregate_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The columns are not in the order of the fields, and two are of a later version.
var tables = fstest.MapFS{"migrations/00001_shelf.sql": {Data: []byte(`-- +goose Up
create table shelf (
    later_flag smallint not null default 7,
    version    bigint   not null,
    label      text     not null,
    later_maybe text,
    id         uuid     primary key,
    units      jsonb
);
`)}}

// versions returns how often each row was saved.
func versions(t *testing.T, pool *pgxpool.Pool) (list []int64) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select version from shelf order by label`)
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A handler saves all that it loaded. What an event did not change is not written.
func TestSaveWritesOnlyWhatChanged(t *testing.T) {
	pool := pgtest.Open(t, tables)
	var ids []uuid.UUID
	for _, label := range []string{"a", "b", "c"} {
		s := &shelf{Row: aggregate.Row{ID: uuid.New()}, Units: map[string]int{"tea": 3}, Label: label}
		if err := save(t, pool, s); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	change := func(change func(tx *pgtx.Tx, found map[uuid.UUID]*shelf) error) {
		t.Helper()
		err := pgtx.RunPiped(t.Context(), pool, func(ctx context.Context, tx *pgtx.Tx) error {
			found, err := shelves.Load(ctx, tx, ids)
			if err != nil {
				return err
			}
			return errors.Join(change(tx, found), shelves.Save(tx, found))
		})
		if err != nil {
			t.Error(err)
		}
	}
	check := func(step string, want ...int64) {
		t.Helper()
		if got := versions(t, pool); !slices.Equal(got, want) {
			t.Errorf("%s: versions %v, want %v", step, got, want)
		}
	}
	change(func(*pgtx.Tx, map[uuid.UUID]*shelf) error { return nil })
	check("nothing changed", 1, 1, 1)
	change(func(_ *pgtx.Tx, found map[uuid.UUID]*shelf) error {
		found[ids[0]].Label = "aa"
		found[ids[1]].Units["tea"]++ // within a map that was loaded
		return nil
	})
	check("two changed", 2, 2, 1)
	if got := load(t, pool, ids[1]); got.Units["tea"] != 4 {
		t.Errorf("saved %+v", got)
	}
	change(func(_ *pgtx.Tx, found map[uuid.UUID]*shelf) error { found[ids[2]].Touch(); return nil })
	check("one touched", 2, 2, 2)
	change(func(tx *pgtx.Tx, found map[uuid.UUID]*shelf) error {
		s := found[ids[2]]
		s.Label = "cc"
		err := shelves.Save(tx, map[uuid.UUID]*shelf{s.ID: s})
		s.Label = "ccc"
		return err
	})
	check("saved twice in a transaction", 2, 2, 4)
	if got := load(t, pool, ids[2]); got.Label != "ccc" || got.Version != 4 {
		t.Errorf("saved %+v", got)
	}
}

// What is selected with the commit is as it was saved before it, also without a transaction.
func TestSelectWithOtherStatements(t *testing.T) {
	pool := pgtest.Open(t, tables)
	s := &shelf{Row: aggregate.Row{ID: uuid.New()}, Units: map[string]int{"tea": 3}, Label: "top"}
	var saved, alone, none []*shelf
	err := pgtx.RunPiped(t.Context(), pool, func(_ context.Context, tx *pgtx.Tx) error {
		err := shelves.Save(tx, map[uuid.UUID]*shelf{s.ID: s})
		shelves.SelectWith(tx.Last, func(found []*shelf) { saved = found }, `where label = $1`, "top")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var b pgx.Batch
	shelves.SelectWith(b.Queue, func(found []*shelf) { alone = found }, `where id = $1`, s.ID)
	shelves.SelectWith(b.Queue, func(found []*shelf) { none = found }, `where label = 'bottom'`)
	if err := pool.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Fatal(err)
	}
	for _, found := range [][]*shelf{saved, alone} {
		if len(found) != 1 || found[0].ID != s.ID || found[0].Version != 1 || found[0].Units["tea"] != 3 {
			t.Errorf("found %+v", found)
		}
	}
	if len(none) != 0 {
		t.Errorf("found %+v", none)
	}
}

// Of transactions that only decided something from an aggregate, one at a time goes
// on if they say so.
func TestTouchLetsOneAtATimeCommit(t *testing.T) {
	pool := pgtest.Open(t, tables)
	s := &shelf{Row: aggregate.Row{ID: uuid.New()}, Label: "top"}
	if err := save(t, pool, s); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err := pgtx.RunPiped(t.Context(), pool, func(ctx context.Context, tx *pgtx.Tx) error {
		found, err := shelves.Load(ctx, tx, []uuid.UUID{s.ID})
		if err != nil {
			return err
		}
		if runs++; runs == 1 { // another is faster
			err = pgtx.RunPiped(ctx, pool, func(ctx context.Context, other *pgtx.Tx) error {
				theirs, err := shelves.Load(ctx, other, []uuid.UUID{s.ID})
				if err != nil {
					return err
				}
				theirs[s.ID].Touch()
				return shelves.Save(other, theirs)
			})
		}
		found[s.ID].Touch()
		return errors.Join(err, shelves.Save(tx, found))
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, error %v, want a second run", runs, err)
	}
}

type shelf struct {
	aggregate.Row
	Units map[string]int `json:"units"`
	Label string         `json:"label"`
}

var shelves = aggregate.NewTable[shelf, uuid.UUID]("shelf")

func save(t *testing.T, pool *pgxpool.Pool, s *shelf) error {
	t.Helper()
	return pgtx.RunPiped(t.Context(), pool, func(_ context.Context, tx *pgtx.Tx) error {
		saved := *s // another attempt saves the same version
		return shelves.Save(tx, map[uuid.UUID]*shelf{s.ID: &saved})
	})
}

func load(t *testing.T, pool *pgxpool.Pool, id uuid.UUID) *shelf {
	t.Helper()
	found, err := shelves.Load(t.Context(), pool, []uuid.UUID{id, uuid.New()})
	if err != nil || len(found) != 1 {
		t.Fatalf("loaded %v, %v, want the one that exists", found, err)
	}
	return found[id]
}

func TestSaveAndLoad(t *testing.T) {
	pool := pgtest.Open(t, tables)
	s := &shelf{Row: aggregate.Row{ID: uuid.New()}, Units: map[string]int{"tea": 3}, Label: "top"}
	if err := save(t, pool, s); err != nil {
		t.Fatal(err)
	}
	got := load(t, pool, s.ID)
	if got.Version != 1 || got.Label != "top" || got.Units["tea"] != 3 {
		t.Errorf("loaded %+v", got)
	}
	got.Label = "bottom"
	if err := save(t, pool, got); err != nil {
		t.Fatal(err)
	}
	if err := save(t, pool, got); err == nil {
		t.Error("a row that changed since it was loaded was saved over")
	}
	if got = load(t, pool, s.ID); got.Version != 2 || got.Label != "bottom" {
		t.Errorf("loaded %+v", got)
	}
}

// A column that the code does not know keeps its default in what is inserted, and
// what the later version wrote there in what is updated.
func TestColumnsOfALaterVersionAreLeftAlone(t *testing.T) {
	pool := pgtest.Open(t, tables)
	s := &shelf{Row: aggregate.Row{ID: uuid.New()}, Label: "top"}
	check := func(flag int, note string) {
		t.Helper()
		var gotFlag int
		var gotNote string
		err := pool.QueryRow(t.Context(), `select later_flag, coalesce(later_maybe, '') from shelf`).Scan(&gotFlag, &gotNote)
		if err != nil || gotFlag != flag || gotNote != note {
			t.Errorf("the later columns hold %d %q (%v), want %d %q", gotFlag, gotNote, err, flag, note)
		}
	}
	err := save(t, pool, s)
	check(7, "")
	_, later := pool.Exec(t.Context(), `update shelf set later_flag = 8, later_maybe = 'x'`)
	if err = errors.Join(err, later, save(t, pool, load(t, pool, s.ID))); err != nil {
		t.Fatal(err)
	}
	check(8, "x")
}

func TestColumns(t *testing.T) {
	for alias, want := range map[string]string{"": "id, version, units, label", "s": "s.id, s.version, s.units, s.label"} {
		if got, of := shelves.Columns(alias), aggregate.ColumnsOf[shelf](alias); got != want || of != want {
			t.Errorf("Columns(%q) = %q, ColumnsOf %q, want %q", alias, got, of, want)
		}
	}
}
