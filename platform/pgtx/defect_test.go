package pgtx_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

func TestDefect(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("step: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"a plain error", errors.New("x"), false},
		{"no rows", pgx.ErrNoRows, false},
		{"a rule of the program", fmt.Errorf("step: %w", &pgtx.ProgramError{Err: errors.New("x")}), true},
		{"42P01 no such table", state("42P01"), true},
		{"42703 no such column", state("42703"), true},
		{"42501 no right", state("42501"), true},
		{"28P01 wrong password", state("28P01"), true},
		{"3D000 no such database", state("3D000"), true},
		{"23505 unique violation", state("23505"), false},
		{"23502 null", state("23502"), false},
		{"22P02 bad input", state("22P02"), false},
		{"40001 serialization failure", state("40001"), false},
		{"P0001 raised by a function", state("P0001"), false},
	} {
		if got := pgtx.Defect(c.err); got != c.want {
			t.Errorf("%s: Defect = %v, want %v", c.name, got, c.want)
		}
	}
}

// Rows that do not fit are recognised, whatever way they do not.
func TestRowsThatDoNotFitAreADefect(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	type pair struct{ A, B int }
	for name, c := range map[string]struct {
		sql string
		fn  pgx.RowToFunc[pair]
	}{
		"a column too many, by name":     {`select 1 a, 2 b, 3 c`, pgx.RowToStructByName[pair]},
		"a column too few, by name":      {`select 1 a`, pgx.RowToStructByName[pair]},
		"a column too many, by position": {`select 1, 2, 3`, pgx.RowToStructByPos[pair]},
		"of another type":                {`select 1, 'x'`, pgx.RowToStructByPos[pair]},
		"null":                           {`select 1, null::int`, pgx.RowToStructByPos[pair]},
	} {
		rows, err := pool.Query(t.Context(), c.sql)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgtx.Collect(rows, c.fn); !pgtx.Defect(fmt.Errorf("load: %w", err)) || pgtx.Transient(err) {
			t.Errorf("%s: %v is no defect", name, err)
		}
	}
	rows, err := pool.Query(t.Context(), `select 1, 1 / (2 - i) from generate_series(1, 3) i`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pgtx.Collect(rows, pgx.RowToStructByPos[pair]); err == nil || pgtx.Defect(err) {
		t.Errorf("Defect(%v) = true: it is the data that the server did not like", err)
	}
	var n int
	if err := pool.QueryRow(t.Context(), `select 'x'`).Scan(&n); !pgtx.Defect(err) {
		t.Errorf("%v is no defect", err)
	}
}
