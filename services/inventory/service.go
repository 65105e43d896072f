// Package inventory is the service that owns the stock: it holds what orders ask for, and ships it
// or releases it as they are confirmed or cancelled.
package inventory

import (
	"context"
	"embed"
	"time"

	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/protorules"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what inventory is.
func Service() service.Spec {
	return service.Spec{
		Name:       "inventory",
		Migrations: migrations,
		Port:       18200,
		Paths:      []string{"/v1/stock"},
		Emits: []string{
			inventory.TypeReserved, inventory.TypeReservationFailed,
			inventory.TypeReservationExpired, inventory.TypeReleased, inventory.TypeCommitted,
			inventory.TypeStockChanged, inventory.TypeCustomerErased,
		},
		Hears: []string{
			checkout.TypeOrderCreated, checkout.TypeOrderCreatedV2, payment.TypeFailed,
			order.TypeConfirmed, order.TypeCancelled, b2b.TypeOrderCompleted,
			customer.TypeErasureRequested,
		},
		Build: func(kit *service.Kit) service.App {
			ttl := kit.Config.About("how long stock is held for an unpaid order").Duration("QUADRILLE_RESERVATION_TTL", 15*time.Minute)
			h := &handler{ttl: ttl}
			x := &expirer{outbox: kit.Outbox, log: kit.Log}
			a := &allocations{outbox: kit.Outbox, log: kit.Log}
			all := &stockSnapshot{pool: kit.Pool, log: kit.Log}
			watched := newLive(kit.Pool, kit.Log)
			s := &server{pool: kit.Pool, api: kit.API}
			// Only parked events name customers here.
			forget := erasure.New(kit, nil, func(e events.Erased) events.Event { return inventory.CustomerErased{Erased: e} })
			return service.App{
				Handle: forget.Handle(h.handle), Routes: s.routes, OperatorRoutes: s.operatorRoutes,
				Services: func(r grpc.ServiceRegistrar) {
					r = protorules.Checked(r)
					a.register(r)
					all.register(r)
					watched.register(r)
				},
				Work: []service.Work{
					{Name: "expiry", Run: x.run},
					{Name: "stock levels", Run: func(ctx context.Context) error { return levels.Run(ctx, kit.Outbox, kit.Log) }},
					{Name: "watched stock", Run: watched.run},
					forget.Work(),
				},
			}
		},
	}
}
