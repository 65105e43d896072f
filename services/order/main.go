// Command order decides each order's fate: it hears what checkout, inventory
// and payment did, and says confirmed or cancelled, once.
package main

import (
	"embed"

	"quadrille.internal/events"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

func main() { service.Main(spec()) }

func spec() service.Spec {
	return service.Spec{
		Name:       "order",
		Migrations: migrations,
		Topics: []string{
			events.TypeOrderCreated,
			events.TypeInventoryReserved, events.TypeReservationFailed,
			events.TypeReservationExpired, events.TypeInventoryReleased,
			events.TypePaymentCompleted, events.TypePaymentFailed, events.TypePaymentRefunded,
		},
		Build: func(kit *service.Kit) service.App {
			s := &server{pool: kit.Pool, outbox: kit.Outbox, api: kit.API}
			return service.App{Handle: handle, Routes: s.routes, OperatorRoutes: s.operatorRoutes}
		},
	}
}
