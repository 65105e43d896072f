package events_test

import (
	"encoding/json"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
)

func created() checkout.OrderCreated   { return sample[checkout.OrderCreated]() }
func reserved() inventory.Reserved     { return sample[inventory.Reserved]() }
func submitted() b2b.OrderSubmitted    { return sample[b2b.OrderSubmitted]() }
func requested() b2b.ApprovalRequested { return sample[b2b.ApprovalRequested]() }
func escalated() b2b.ApprovalEscalated { return sample[b2b.ApprovalEscalated]() }

// sample returns a copy of a registered sample, which a test may change.
func sample[E events.Event]() (e E) {
	for _, def := range events.Definitions() {
		if s, ok := def.Sample.(E); ok {
			b, err := json.Marshal(s)
			if err == nil {
				err = json.Unmarshal(b, &e)
			}
			if err != nil {
				panic(err)
			}
			return e
		}
	}
	panic("not registered")
}
