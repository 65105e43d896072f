// Command payment charges customers for the orders whose stock is held, and
// refunds those whose order is cancelled.
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
		Name:       "payment",
		Migrations: migrations,
		Topics:     []string{events.TypeInventoryReserved, events.TypeOrderCancelled},
		Build: func(kit *service.Kit) service.App {
			provider := newProvider(
				kit.Config.String("QUADRILLE_PSP_URL", "http://127.0.0.1:18900"),
				kit.Config.Secret("QUADRILLE_PSP_KEY"), kit.Log)
			c := newCashier(kit, provider)
			c.expose(kit.Metrics)
			return service.App{Handle: c.handle, OperatorRoutes: c.books.operatorRoutes, Work: []service.Work{
				{Name: "recording", Run: c.outcomes.Run},
				{Name: "cashier", Run: c.run},
				{Name: "counting", Run: c.books.run},
			}}
		},
	}
}
