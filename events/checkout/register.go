package checkout

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that checkout publishes.
var Events = events.Register("checkout", events.KindOrder,
	OrderCreated{
		OfOrder: sample.Order, CustomerID: "customer-17850", Lines: sample.Lines(), Total: sample.Total, PaymentToken: "tok_success",
	},
)
