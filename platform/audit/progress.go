package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Progress is how a benchmark follows the orders of a run at a service: those whose id,
// which grows with time, is not below that of its first. Fields are SQL.
type Progress struct {
	// Table has a row for each order, with its id.
	Table string
	// Unsettled is whether an order has not ended yet, where the service hears of ends late;
	// otherwise "".
	Unsettled string
	// UnderWay is whether the service has something to do for an order.
	UnderWay string
	// Refused is whether an order was refused, where the service takes orders in. Their
	// column idempotency_key is read.
	Refused string
	// Customer is the column of who ordered, where the service decides how an order ends.
	// The columns status and reason are read.
	Customer string
}

// Taken is an order that a service took in.
type Taken struct {
	ID      uuid.UUID
	At      time.Time // when its row last changed
	Key     string    // its idempotency key
	Refused bool
}

// CountUnsettled counts the orders from an id upwards that have not ended, and returns
// the lowest id of them, or "".
func (p *Progress) CountUnsettled(ctx context.Context, db DB, from string) (n int, lowest string, err error) {
	err = db.QueryRow(ctx, fmt.Sprintf(`select count(*), coalesce(min(id::text), '') from %s where id >= $1 and (%s)`,
		p.Table, p.Unsettled), from).Scan(&n, &lowest)
	return n, lowest, err
}

// CountUnderWay counts the orders for which the service has something to do.
func (p *Progress) CountUnderWay(ctx context.Context, db DB, from string) (n int, err error) {
	err = db.QueryRow(ctx, fmt.Sprintf(`select count(*) from %s where id >= $1 and (%s)`, p.Table, p.UnderWay), from).Scan(&n)
	return n, err
}

// Commits tells when each order's row last changed: when the transaction committed.
// PostgreSQL needs track_commit_timestamp.
func (p *Progress) Commits(ctx context.Context, db DB, from string, each func(id uuid.UUID, at time.Time)) error {
	rows, err := db.Query(ctx, fmt.Sprintf(`select id, pg_xact_commit_timestamp(xmin) from %s where id >= $1`, p.Table), from)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error { each(id, at); return nil })
	return err
}

// TakenIn reads the orders whose key begins with a prefix.
func (p *Progress) TakenIn(ctx context.Context, db DB, from, prefix string, each func(Taken) error) error {
	rows, err := db.Query(ctx, fmt.Sprintf(`select id, pg_xact_commit_timestamp(xmin), idempotency_key, %s from %s
		where id >= $1 and starts_with(idempotency_key, $2)`, p.Refused, p.Table), from, prefix)
	if err != nil {
		return err
	}
	var t Taken
	_, err = pgx.ForEachRow(rows, []any{&t.ID, &t.At, &t.Key, &t.Refused}, func() error { return each(t) })
	return err
}

// Outcomes counts how the orders of customers with a prefix stand: by status, or by the
// code of the reason.
func (p *Progress) Outcomes(ctx context.Context, db DB, from, prefix string) (map[string]int, error) {
	rows, err := db.Query(ctx, fmt.Sprintf(`select coalesce(reason->>'code', status), count(*) from %s
		where id >= $1 and starts_with(%s, $2) group by 1`, p.Table, p.Customer), from, prefix)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	var outcome string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&outcome, &n}, func() error { counts[outcome] = n; return nil })
	return counts, err
}

// CountUnpublished counts the events of a service's outbox.
func CountUnpublished(ctx context.Context, db DB) (n int, err error) {
	err = db.QueryRow(ctx, `select count(*) from outbox`).Scan(&n)
	return n, err
}
