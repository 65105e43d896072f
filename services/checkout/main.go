// Command checkout takes orders in: it checks and records them, announces them,
// and tells the customer how they ended.
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
		Name:       "checkout",
		Migrations: migrations,
		Topics: []string{
			events.TypeReservationFailed, events.TypePaymentFailed,
			events.TypeOrderConfirmed, events.TypeOrderCancelled,
		},
		Build: func(kit *service.Kit) service.App {
			p := newPlacer(kit.Outbox)
			s := &server{pool: kit.Pool, placer: p, api: kit.API}
			return service.App{Handle: handle, Routes: s.routes, Work: []service.Work{{Name: "placing", Run: p.run}}}
		},
	}
}
