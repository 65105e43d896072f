// Package cart is the service that keeps carts, and shows their stock as it changes.
package cart

import (
	"embed"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/cart"
	"quadrille.internal/events/catalog"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/order"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what cart is.
func Service() service.Spec {
	return service.Spec{
		Name:       "cart",
		Migrations: migrations,
		Port:       18260,
		Paths:      []string{"/v1/carts"},
		Emits:      []string{cart.TypeAbandoned, cart.TypeCustomerErased},
		Hears: []string{
			checkout.TypeOrderCreatedV2, order.TypeConfirmed, order.TypeCancelled,
			catalog.TypeProductUpdated, catalog.TypeProductRetired, customer.TypeErasureRequested,
		},
		Calls: []string{inventoryv1.LiveStock_Watch_FullMethodName, pricev1.Prices_Quote_FullMethodName},
		Build: func(kit *service.Kit) service.App {
			w := &sweeper{outbox: kit.Outbox, log: kit.Log,
				abandoned: kit.Config.About("how long a cart is left until cart.abandoned is said").Duration("QUADRILLE_CART_ABANDONED_AFTER", 24*time.Hour),
				guests:    kit.Config.About("how long a guest's cart is kept after its last change").Duration("QUADRILLE_GUEST_CART_TTL", 30*24*time.Hour)}
			streams := kit.Config.About("how many browsers may watch stock at a time; each takes some 30 kB").Int("QUADRILLE_STOCK_WATCHERS", 10_000, 1, 1_000_000)
			frames := kit.Config.About("how often a second browsers are told stock in the long run, all together, for each core; each time costs 20 to 70 µs").Int("QUADRILLE_STOCK_FRAMES", 500, 1, 1_000_000)
			v := newLevels(kit.Calls("inventory"), framesOf(frames), kit.Log)
			v.expose(kit.Metrics)
			s := &server{store: &store{pool: kit.Pool, outbox: kit.Outbox}, levels: v, prices: pricev1.NewPricesClient(kit.Calls("price")), api: kit.API}
			forget := erasure.New(kit, erase, func(e events.Erased) events.Event { return cart.CustomerErased{Erased: e} })
			return service.App{
				Handle: forget.Handle(handle), OpenRoutes: s.routes, Streams: streams,
				Work: []service.Work{{Name: "carts", Run: w.run}, {Name: "stock levels", Run: v.run}, forget.Work()},
			}
		},
	}
}
