// Package services lists Quadrille's services. A new one is a folder and a line here.
package services

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/services/cart"
	"quadrille.internal/services/catalog"
	"quadrille.internal/services/checkout"
	"quadrille.internal/services/customer"
	"quadrille.internal/services/gateway"
	"quadrille.internal/services/identity"
	"quadrille.internal/services/inventory"
	"quadrille.internal/services/order"
	"quadrille.internal/services/payment"
	"quadrille.internal/services/price"
	"quadrille.internal/workflows/b2b"
)

// All returns what each service is, in the order in which they are shown and started.
func All() []service.Spec {
	return []service.Spec{
		checkout.Service(),
		inventory.Service(),
		payment.Service(),
		order.Service(),
		b2b.Service(),
		identity.Service(),
		cart.Service(),
		catalog.Service(),
		customer.Service(),
		price.Service(),
		gateway.Service(),
	}
}
