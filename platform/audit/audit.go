// Package audit reads what a service lets auditors see of its books: views that its
// migrations make, so that a change of its tables cannot break them unseen. A service may
// have none of them.
//
//	audit_moments (order_id uuid, at timestamptz, what text, detail text, bad boolean)
//	    what happened to an order; bad is what speaks against it
//	audit_checks (name text, unit text, checked bigint)
//	    the rules that the books keep, and how many rows were held against each
//	audit_faults (name text, id text, problem text)
//	    what breaks a rule of audit_checks
package audit

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Moments returns what a service tells of an order, oldest first.
func Moments(ctx context.Context, pool *pgxpool.Pool, order uuid.UUID) ([]Moment, error) {
	return read[Moment](ctx, pool, "audit_moments",
		`select at, what, detail, bad, '' as by from audit_moments where order_id = $1 order by at, what`, order)
}

// Checks returns the rules of a service. The two views are read at one moment.
func Checks(ctx context.Context, pool *pgxpool.Pool) ([]Check, error) {
	rows, err := read[checkRow](ctx, pool, "audit_checks", `
		select c.name, c.unit, coalesce(f.id, '') as id, coalesce(f.problem, '') as problem, c.checked
		from audit_checks c left join audit_faults f using (name) order by c.name, f.id`)
	var checks []Check
	for _, r := range rows {
		if len(checks) == 0 || checks[len(checks)-1].Name != r.Name {
			checks = append(checks, Check{Name: r.Name, Unit: r.Unit, Checked: r.Checked})
		}
		if last := &checks[len(checks)-1]; r.Problem != "" {
			last.Faults = append(last.Faults, Fault{r.ID, r.Problem})
		}
	}
	return checks, err
}

type checkRow struct {
	Name, Unit, ID, Problem string
	Checked                 int
}

// read returns the rows of a query, or none where the service has no such view.
func read[T any](ctx context.Context, pool *pgxpool.Pool, view, sql string, args ...any) ([]T, error) {
	var exists bool
	if err := pool.QueryRow(ctx, `select to_regclass($1) is not null`, view).Scan(&exists); err != nil || !exists {
		return nil, err
	}
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", view, err)
	}
	return list, nil
}
