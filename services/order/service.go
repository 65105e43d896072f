// Package order is the service that decides each order's fate: it hears what checkout, inventory
// and payment did, and says confirmed or cancelled, once.
package order

import (
	"embed"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what order is.
func Service() service.Spec {
	return service.Spec{
		Name:       "order",
		Migrations: migrations,
		Port:       18400,
		Paths:      []string{"/v1/orders"},
		Emits:      []string{order.TypeConfirmed, order.TypeCancelled, order.TypeCustomerErased},
		Hears: []string{
			checkout.TypeOrderCreated, checkout.TypeOrderCreatedV2,
			inventory.TypeReserved, inventory.TypeReservationFailed,
			inventory.TypeReservationExpired, inventory.TypeReleased,
			payment.TypeCompleted, payment.TypeFailed, payment.TypeRefunded,
			customer.TypeErasureRequested,
		},
		Build: func(kit *service.Kit) service.App {
			s := &server{pool: kit.Pool, outbox: kit.Outbox, api: kit.API, took: kit.Metrics.SagaSeconds(string(Confirmed), string(Cancelled))}
			forget := erasure.New(kit, erase, func(e events.Erased) events.Event { return order.CustomerErased{Erased: e} })
			return service.App{
				Handle: forget.Handle(s.handle), Routes: s.routes, OperatorRoutes: s.operatorRoutes, Work: []service.Work{forget.Work()},
			}
		},
	}
}
