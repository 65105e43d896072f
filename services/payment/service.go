// Package payment is the service that charges customers for the orders whose stock is held, and
// refunds those whose order is cancelled.
package payment

import (
	"embed"

	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

var pspPartner = service.Partner{Name: "psp", What: "the payment provider", Port: 18900}

// Service says what payment is.
func Service() service.Spec {
	return service.Spec{
		Name:       "payment",
		Migrations: migrations,
		Port:       18300,
		Emits:      []string{payment.TypeCompleted, payment.TypeFailed, payment.TypeRefunded},
		Hears:      []string{inventory.TypeReserved, order.TypeCancelled},
		Partners:   []service.Partner{pspPartner},
		Build: func(kit *service.Kit) service.App {
			url, key := pspPartner.Read(kit.Config)
			c := newCashier(kit, newProvider(url, key, kit.Log))
			c.expose(kit.Metrics)
			return service.App{Handle: c.handle, OperatorRoutes: c.books.operatorRoutes, Work: []service.Work{
				{Name: "recording", Run: c.outcomes.Run},
				{Name: "cashier", Run: c.run},
				{Name: "counting", Run: c.books.run},
			}}
		},
	}
}
