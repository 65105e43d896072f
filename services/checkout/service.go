// Package checkout is the service that takes orders in: it checks and records them, announces them,
// and tells the customer how they ended.
package checkout

import (
	"embed"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	customerv1 "quadrille.internal/events/proto/customer/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what checkout is.
func Service() service.Spec {
	return service.Spec{
		Name:       "checkout",
		Migrations: migrations,
		Port:       18100,
		Paths:      []string{"/v1/checkouts"},
		Emits:      []string{checkout.TypeOrderCreated, checkout.TypeOrderCreatedV2, checkout.TypeCustomerErased},
		Hears: []string{
			inventory.TypeReservationFailed, payment.TypeFailed,
			order.TypeConfirmed, order.TypeCancelled,
			customer.TypeErasureRequested,
		},
		Calls: []string{
			pricev1.Prices_Commit_FullMethodName, pricev1.Prices_Keys_FullMethodName,
			customerv1.Customers_Address_FullMethodName,
		},
		Build: func(kit *service.Kit) service.App {
			p := newPlacer(kit.Pool, kit.Outbox)
			p.waited = kit.Metrics.Durations("placing_wait_seconds", "", "From a request to the start of the transaction that takes its order in.")
			p.started = kit.Metrics.SagasStarted()
			forget := erasure.New(kit, erase, func(e events.Erased) events.Event { return checkout.CustomerErased{Erased: e} })
			keys := newKeyring(kit.Calls("price"), kit.Pool, kit.Log)
			ask := newAsker(kit.Calls, keys)
			kit.Metrics.Counter("quotes_taken_by_signature_total", "Quotes that were taken by their signature alone, since price did not answer.", ask.unasked.Load)
			s := &server{pool: kit.Pool, placer: p, asker: ask, api: kit.API}
			o := &orders{pool: kit.Pool, log: kit.Log}
			return service.App{Handle: forget.Handle(handle), Routes: s.routes, Services: o.register, Work: []service.Work{
				{Name: "placing", Run: p.run},
				{Name: "keys of price", Run: keys.run},
				forget.Work(),
			}}
		},
	}
}
