// Package audit is what inventory lets auditors read of its books.
package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
)

// Books are those of inventory.
var Books = audit.Books{
	Busy:  `select exists (select from reservations where status in ('held', 'unknown'))`,
	Story: story,
}

// Progress is that of orders at inventory.
var Progress = audit.Progress{
	Table: "reservations", Unsettled: "status in ('unknown', 'held')", UnderWay: "status = 'held'",
}

// Reservation is what an order holds, or was shipped.
type Reservation struct {
	ID        uuid.UUID
	Status    string
	Units     int64
	ExpiredAt *time.Time
}

// Reservations reads all reservations, or, unless ids is nil, some.
func Reservations(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Reservation], error) {
	return audit.Read(ctx, db, `
		select id, status,
			coalesce((select sum((a ->> 'quantity')::bigint) from jsonb_array_elements(nullif(allocations, 'null')) a), 0)::bigint,
			expired_at
		from reservations`+audit.ByID, ids, func(r *Reservation) uuid.UUID { return r.ID })
}

// Stock is what lies in a warehouse, and what its movements and the orders say of it.
type Stock struct {
	SKU, Warehouse string
	// OnHand should be what was Moved there less what was Shipped.
	OnHand, Moved, Shipped int64
	// Held should be HeldByOrders.
	Held, HeldByOrders int64
}

// Stocks reads all stock, sorted by SKU and warehouse. One statement sees one moment.
func Stocks(ctx context.Context, db audit.DB, each func(Stock)) error {
	return audit.Each(ctx, db, `
		with moved as (
			select sku, warehouse, sum(delta)::bigint as delta from stock_movements group by sku, warehouse),
		allocated as (
			select a.sku, a.warehouse,
			       coalesce(sum(a.quantity) filter (where r.status = 'shipped'), 0)::bigint as shipped,
			       coalesce(sum(a.quantity) filter (where r.status = 'held'), 0)::bigint as held
			from reservations r,
			     jsonb_to_recordset(r.allocations) as a (sku text, warehouse text, quantity bigint)
			where r.status in ('held', 'shipped')
			group by a.sku, a.warehouse)
		select sku, warehouse, coalesce(s.on_hand, 0), coalesce(m.delta, 0),
		       coalesce(a.shipped, 0), coalesce(s.held, 0), coalesce(a.held, 0)
		from stock s full join moved m using (sku, warehouse) full join allocated a using (sku, warehouse)
		order by sku, warehouse`, each)
}

// Level is what inventory has published of a SKU.
type Level struct {
	SKU     string
	Version int64
	InStock bool
}

// Levels reads all that is published, sorted by SKU.
func Levels(ctx context.Context, db audit.DB, each func(Level)) error {
	return audit.Each(ctx, db, `
		select key, version, coalesce((value ->> 'available')::bigint, 0) > 0 from stock_levels where version > 0 order by key`, each)
}

// Sold adds up, by SKU, what the orders from an id upwards hold or were shipped.
func Sold(ctx context.Context, db audit.DB, from string) (map[string]int64, error) {
	return units(ctx, db, `
		select a.sku, sum(a.quantity)::bigint
		from reservations r, jsonb_to_recordset(r.allocations) a (sku text, quantity bigint)
		where r.id >= $1 and r.status in ('held', 'shipped') group by 1`, from)
}

// OnSale adds up what can be bought of the SKUs with a prefix.
func OnSale(ctx context.Context, db audit.DB, prefix string) (map[string]int64, error) {
	return units(ctx, db, `select sku, sum(on_hand - held)::bigint from stock where starts_with(sku, $1) group by 1`, prefix)
}

func units(ctx context.Context, db audit.DB, sql, arg string) (map[string]int64, error) {
	type sum struct {
		SKU   string
		Units int64
	}
	sums, err := audit.All[sum](ctx, db, sql, arg)
	units := make(map[string]int64, len(sums))
	for _, s := range sums {
		units[s.SKU] = s.Units
	}
	return units, err
}

type row struct {
	Status      string
	Allocations []events.Allocation
	ReservedAt  *time.Time
	ExpiresAt   *time.Time
	ExpiredAt   *time.Time
	EndedAt     *time.Time
}

func story(ctx context.Context, db audit.DB, order uuid.UUID) (*audit.Story, error) {
	r, err := audit.One[row](ctx, db, `
		select status, allocations, reserved_at, expires_at, expired_at, ended_at
		from reservations where id = $1`, order)
	if err != nil || r == nil {
		return nil, err
	}
	s := &audit.Story{Status: r.Status}
	places := audit.Places(r.Allocations)
	s.Tell(r.ReservedAt, "reserved", fmt.Sprintf("%s, until %s", places, audit.Clock(r.ExpiresAt)), false)
	s.Tell(r.ExpiredAt, "reservation expired", "asks for the order to be cancelled", true)
	switch r.Status {
	case "refused":
		s.Tell(r.EndedAt, "refused", "nothing is held", true)
	case "released":
		s.Tell(r.EndedAt, "released", places, false)
	case "shipped":
		s.Tell(r.EndedAt, "shipped", places, false)
	}
	return s, nil
}
