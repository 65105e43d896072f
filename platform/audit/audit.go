// Package audit is how a service says what auditors may read of its database, and how its
// books are read: statements in Go, in a package of the service, run by a role that may
// read and no more. They need no migration, so they work on the tables of the release
// before as well.
package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
)

// DB is a service's database as the auditor's role sees it: a pool or a connection.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Books are what a service lets auditors read. It has a package audit with a variable of
// this type, Books, tested in its module, so that a change of its tables fails there.
type Books struct {
	// Busy asks whether work is left that the service does without a person: a query for
	// one boolean. "" is never. Its outbox counts for every service.
	Busy string
	// Story tells what the service knows of an order; nil, without an error, where it
	// knows nothing. It may be nil.
	Story func(ctx context.Context, db DB, order uuid.UUID) (*Story, error)
	// Rules are what these books keep by themselves.
	Rules []Rule
	// Customers are the columns with customers' ids: of one who is erased they have none.
	Customers []Column
}

// Story is what a service knows of an order.
type Story struct {
	// Status is the service's own word for where the order stands, and Reason why.
	Status string
	Reason *events.Reason
	// Waits is what the service waits for, if it says so.
	Waits Wait
	// Customer, Total, Lines, Extras and Trace (a W3C traceparent) are empty where the service
	// does not say.
	Customer string
	Total    events.Money
	Lines    []events.Line
	Extras   events.Extras // what Total has beside Lines
	Trace    string
	// Moments are what happened, in any sequence.
	Moments []Moment
}

// Wait is what an order waits for.
type Wait struct {
	What string
	// On names the service, if it is one: what that waits for itself says more.
	On string
}

// Moment is what happened to an order at a time.
type Moment struct {
	At     time.Time
	What   string
	Detail string
	Bad    bool // it speaks against the order
	// By is who did it; "" is the service.
	By string
}

// Tell adds a moment, if it has come.
func (s *Story) Tell(at *time.Time, what, detail string, bad bool) {
	if at != nil {
		s.Moments = append(s.Moments, Moment{At: *at, What: what, Detail: detail, Bad: bad})
	}
}

// MomentsOf makes a Story of a query for the columns at, what, detail and bad, whose $1 is
// the order's id.
func MomentsOf(sql string) func(context.Context, DB, uuid.UUID) (*Story, error) {
	type moment struct {
		At           time.Time
		What, Detail string
		Bad          bool
	}
	return func(ctx context.Context, db DB, order uuid.UUID) (*Story, error) {
		rows, err := db.Query(ctx, sql, order)
		if err != nil {
			return nil, err
		}
		told, err := pgx.CollectRows(rows, pgx.RowToStructByName[moment])
		if err != nil || len(told) == 0 {
			return nil, err
		}
		story := &Story{}
		for _, m := range told {
			story.Tell(&m.At, m.What, m.Detail, m.Bad)
		}
		return story, nil
	}
}

// Rule is what a service's books keep.
type Rule struct {
	Name string
	// Unit is what Count counts: the rows that are held against the rule.
	Unit, Count string
	// Faults is a query for what breaks the rule: an id and a problem, both texts.
	Faults string
}

// Check is a rule, how much was held against it, and what breaks it.
type Check struct {
	Name    string
	Unit    string
	Checked int
	Faults  []Fault
}

// Fault is what breaks a rule, by its id.
type Fault struct {
	ID      string
	Problem string
}

// Check holds the books against the service's own rules, all at one moment.
func (b *Books) Check(ctx context.Context, db DB) ([]Check, error) {
	if len(b.Rules) == 0 {
		return nil, nil
	}
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it has only read
	checks := make([]Check, len(b.Rules))
	for i, r := range b.Rules {
		checks[i] = Check{Name: r.Name, Unit: r.Unit}
		if err := tx.QueryRow(ctx, r.Count).Scan(&checks[i].Checked); err != nil {
			return nil, fmt.Errorf("count for %q: %w", r.Name, err)
		}
		rows, err := tx.Query(ctx, r.Faults)
		if err != nil {
			return nil, fmt.Errorf("look for what breaks %q: %w", r.Name, err)
		}
		if checks[i].Faults, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Fault]); err != nil {
			return nil, fmt.Errorf("look for what breaks %q: %w", r.Name, err)
		}
	}
	return checks, nil
}

// IsBusy reports whether work or an event to publish is left.
func (b *Books) IsBusy(ctx context.Context, db DB) (busy bool, err error) {
	if b.Busy != "" {
		if err := db.QueryRow(ctx, b.Busy).Scan(&busy); err != nil || busy {
			return busy, err
		}
	}
	err = db.QueryRow(ctx, `select exists (select from outbox)`).Scan(&busy)
	return busy, err
}
