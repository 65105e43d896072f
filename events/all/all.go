// Package all has every event type, for programs that read any topic.
package all

import (
	// Each registers its types.
	_ "quadrille.internal/events/b2b"
	_ "quadrille.internal/events/cart"
	_ "quadrille.internal/events/catalog"
	_ "quadrille.internal/events/checkout"
	_ "quadrille.internal/events/customer"
	_ "quadrille.internal/events/identity"
	_ "quadrille.internal/events/inventory"
	_ "quadrille.internal/events/order"
	_ "quadrille.internal/events/payment"
	_ "quadrille.internal/events/price"
)
