package customer

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that customer publishes.
var Events = events.Register("customer", events.KindCustomer,
	ErasureRequested{OfCustomer: sample.Customer, Deadline: sample.AnswerBy},
	GroupsChanged{OfCustomer: sample.Customer, Groups: []string{"trade", "staff"}, Version: 3},
)
