package identity

import (
	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that identity publishes.
var Events = events.Register("identity", KindAccount,
	SessionRevoked{
		AccountID: uuid.MustParse("01977420-0000-7000-8000-0000000acc01"), SessionID: uuid.MustParse("01977420-0000-7000-8000-0000000005e5"),
		Reason: ReasonReuse,
	},
)

// CustomerEvents are the types that identity publishes about customers.
var CustomerEvents = events.Register("identity", events.KindCustomer, CustomerErased{sample.Erased})
