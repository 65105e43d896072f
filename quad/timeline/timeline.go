// Package timeline tells one order's story from the books of all services.
package timeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
)

// Sources are the services' databases, to be read only.
type Sources struct {
	Checkout, Inventory, Payment, Order *pgxpool.Pool
	// Others are services by name, which tell of an order in a view of theirs: see
	// package audit.
	Others map[string]*pgxpool.Pool
}

// ErrUnknown says that no service knows the order.
var ErrUnknown = errors.New("no service knows this order")

// Moment is one fact, told by the service whose doing it is.
type Moment struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	What    string    `json:"what"`
	Detail  string    `json:"detail,omitempty"`
	// Bad marks what speaks against the order.
	Bad bool `json:"bad,omitempty"`
}

// Timeline is all that is known of one order.
type Timeline struct {
	ID       uuid.UUID      `json:"id"`
	Status   string         `json:"status"`
	Reason   *events.Reason `json:"reason,omitempty"`
	WaitsFor string         `json:"waits_for,omitempty"`
	Customer string         `json:"customer_id,omitempty"`
	Total    events.Money   `json:"total"`
	Lines    []events.Line  `json:"lines"`
	TraceID  string         `json:"trace_id,omitempty"`
	Moments  []Moment       `json:"moments"`
	// Parked counts the events that a service could not handle.
	Parked int `json:"parked"`
	// Done says that the order is settled and all services have followed.
	Done bool `json:"done"`
}

// Read reads an order's timeline. ErrUnknown where nobody has heard of it.
func Read(ctx context.Context, src Sources, id uuid.UUID) (*Timeline, error) {
	b := books{}
	for _, read := range []func() error{
		func() error { return one(ctx, src.Checkout, checkoutSQL, id, &b.checkout) },
		func() error { return one(ctx, src.Order, orderSQL, id, &b.order) },
		func() error { return one(ctx, src.Inventory, reservationSQL, id, &b.reservation) },
		func() error { return one(ctx, src.Payment, paymentSQL, id, &b.payment) },
	} {
		if err := read(); err != nil {
			return nil, fmt.Errorf("read order %s: %w", id, err)
		}
	}
	parked, err := readParked(ctx, src, id)
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", id, err)
	}
	told, err := readOthers(ctx, src.Others, id)
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", id, err)
	}
	if b.checkout == nil && b.order == nil && b.reservation == nil && b.payment == nil && len(parked)+len(told) == 0 {
		return nil, fmt.Errorf("order %s: %w", id, ErrUnknown)
	}
	t := b.tell(id)
	t.Moments = slices.Concat(t.Moments, told, parked)
	t.Parked = len(parked)
	slices.SortStableFunc(t.Moments, func(a, b Moment) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(rank(a.Service), rank(b.Service)))
	})
	return t, nil
}

// rank orders what happened at the same moment: causes come before effects.
func rank(service string) int {
	first := []string{"customer", "inventory", "payment", "order", "checkout"}
	if i := slices.Index(first, service); i >= 0 {
		return i
	}
	return len(first)
}

// readOthers reads what services tell of the order in their views.
func readOthers(ctx context.Context, others map[string]*pgxpool.Pool, id uuid.UUID) (moments []Moment, err error) {
	for _, service := range slices.Sorted(maps.Keys(others)) {
		told, err := audit.Moments(ctx, others[service], id)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		for _, m := range told {
			moments = append(moments, Moment{m.At, service, m.What, m.Detail, m.Bad})
		}
	}
	return moments, nil
}

// one reads at most one row into *row.
func one[T any](ctx context.Context, pool *pgxpool.Pool, sql string, id uuid.UUID, row **T) error {
	rows, err := pool.Query(ctx, sql, id)
	if err != nil {
		return err
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	*row = found
	return err
}

// readParked finds events of the order that a service could not handle.
func readParked(ctx context.Context, src Sources, id uuid.UUID) ([]Moment, error) {
	var parked []Moment
	pools := slices.AppendSeq([]*pgxpool.Pool{src.Checkout, src.Inventory, src.Payment, src.Order}, maps.Values(src.Others))
	for _, pool := range pools {
		rows, err := pool.Query(ctx, `
			select tried_at, consumer, topic || ' PARKED', 'event ' || event_id || ': ' || split_part(cause, E'\n', 1), true
			from parked where position(convert_to($1, 'UTF8') in payload) > 0`, `"subject":"`+id.String()+`"`)
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Moment])
		if err != nil {
			return nil, err
		}
		parked = append(parked, found...)
	}
	return parked, nil
}

// traceID is the part of a W3C traceparent that names the trace.
func traceID(traceParent string) string {
	parts := strings.Split(traceParent, "-")
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}
