package pgtx

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MappingError says that the rows of a statement do not fit the code that reads
// them: a column too many, too few or of another type.
type MappingError struct{ Err error }

func (e *MappingError) Error() string { return fmt.Sprintf("rows do not fit the program: %v", e.Err) }

func (e *MappingError) Unwrap() error { return e.Err }

// ProgramError says that the program breaks a rule of its own, whatever the data.
type ProgramError struct{ Err error }

func (e *ProgramError) Error() string { return e.Err.Error() }

func (e *ProgramError) Unwrap() error { return e.Err }

// Collect is pgx.CollectRows, where an error of fn is a MappingError.
func Collect[T any](rows pgx.Rows, fn pgx.RowToFunc[T]) ([]T, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (T, error) {
		v, err := fn(row)
		if err != nil {
			err = &MappingError{err}
		}
		return v, err
	})
}

// Defect reports whether err is the fault of the program or of how its database is
// set up (schema, rights, password), and not of the data that it works on: the
// same work succeeds once that is mended.
func Defect(err error) bool {
	if _, ok := errors.AsType[*MappingError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*ProgramError](err); ok {
		return true
	}
	if _, ok := errors.AsType[pgx.ScanArgError](err); ok {
		return true
	}
	s := state(err)
	return s != "" && !outdated(err) && blameOf(s) == ofDefect
}

// Unreachable reports whether no connection could be made, for whatever reason.
func Unreachable(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}
