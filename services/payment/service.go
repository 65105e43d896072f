// Package payment is the service that charges customers for the orders whose stock is held, and
// refunds those whose order is cancelled.
package payment

import (
	"embed"

	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what payment is.
func Service() service.Spec {
	return service.Spec{
		Name:       "payment",
		Migrations: migrations,
		Topics:     []string{inventory.TypeReserved, order.TypeCancelled},
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
