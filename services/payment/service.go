// Package payment is the service that charges customers for the orders whose stock is held, and
// refunds those whose order is cancelled.
package payment

import (
	"embed"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/erasure"
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
		Emits:      []string{payment.TypeCompleted, payment.TypeFailed, payment.TypeRefunded, payment.TypeCustomerErased},
		Hears:      []string{inventory.TypeReserved, order.TypeCancelled, customer.TypeErasureRequested},
		Partners:   []service.Partner{pspPartner},
		Build: func(kit *service.Kit) service.App {
			url, key := pspPartner.Read(kit.Config)
			c := newCashier(kit, newProvider(url, key, kit.Log))
			c.expose(kit.Metrics)
			// Payments know orders; only parked events name customers here.
			forget := erasure.New(kit, nil, func(e events.Erased) events.Event { return payment.CustomerErased{Erased: e} })
			return service.App{Handle: forget.Handle(c.handle), OperatorRoutes: c.books.operatorRoutes, Work: []service.Work{
				{Name: "recording", Run: c.outcomes.Run},
				{Name: "cashier", Run: c.run},
				{Name: "counting", Run: c.books.run},
				forget.Work(),
			}}
		},
	}
}
