// Package cart is the service that keeps carts, and shows their stock as it changes.
package cart

import (
	"embed"
	"time"

	"quadrille.internal/events/cart"
	"quadrille.internal/events/order"
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
		Emits:      []string{cart.TypeAbandoned},
		Hears:      []string{order.TypeConfirmed, order.TypeCancelled},
		Build: func(kit *service.Kit) service.App {
			w := &sweeper{outbox: kit.Outbox, log: kit.Log,
				abandoned: kit.Config.About("how long a cart is left until cart.abandoned is said").Duration("QUADRILLE_CART_ABANDONED_AFTER", 24*time.Hour),
				guests:    kit.Config.About("how long a guest's cart is kept after its last change").Duration("QUADRILLE_GUEST_CART_TTL", 30*24*time.Hour)}
			s := &server{store: &store{pool: kit.Pool, outbox: kit.Outbox}, api: kit.API}
			return service.App{Handle: handle, Routes: s.routes, Work: []service.Work{{Name: "carts", Run: w.run}}}
		},
	}
}
