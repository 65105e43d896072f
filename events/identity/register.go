package identity

import (
	"github.com/google/uuid"

	"quadrille.internal/events"
)

// Events are the types that identity publishes.
var Events = events.Register("identity", KindAccount,
	SessionRevoked{
		AccountID: uuid.MustParse("01977420-0000-7000-8000-0000000acc01"), SessionID: uuid.MustParse("01977420-0000-7000-8000-0000000005e5"),
		Reason: ReasonReuse,
	},
)
