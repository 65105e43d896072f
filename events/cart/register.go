package cart

import (
	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that cart publishes.
var Events = events.Register("cart", KindCart,
	Abandoned{
		CartID: uuid.MustParse("5f0c6a53-5b5c-4e5e-8a55-3f9d5a4f6b11"), CustomerID: "customer-17850",
		Lines:     []Line{{SKU: "85123A", Quantity: 6}, {SKU: "71053", Quantity: 1}},
		ChangedAt: sample.ExpiresAt,
	},
)

// CustomerEvents are the types that cart publishes about customers.
var CustomerEvents = events.Register("cart", events.KindCustomer, CustomerErased{sample.Erased})
