// Package cart holds the events that cart publishes.
package cart

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// TypeAbandoned is the event type and the topic.
const TypeAbandoned = "cart.abandoned"

// KindCart says that an event is about a cart.
const KindCart events.Kind = "cart"

// MaxLines bounds a cart.
const MaxLines = 200

// Line is how much of a SKU a cart has. A SKU has one line.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Abandoned: a cart has lines, and nobody has changed or ordered it for a while. It is
// said once; when the cart is changed and left again, once more.
type Abandoned struct {
	CartID uuid.UUID `json:"cart_id"`
	// CustomerID is empty where the cart is a guest's.
	CustomerID string `json:"customer_id"`
	Lines      []Line `json:"lines"`
	// ChangedAt is when it was last changed.
	ChangedAt time.Time `json:"changed_at"`
}

// Type is cart.abandoned.
func (Abandoned) Type() string { return TypeAbandoned }

// Subject is the cart.
func (e Abandoned) Subject() string { return e.CartID.String() }

// Key is the cart.
func (e Abandoned) Key() string { return e.CartID.String() }

// Validate checks cart, lines and time.
func (e Abandoned) Validate() error {
	if e.CartID == uuid.Nil || e.ChangedAt.IsZero() {
		return errors.New("cart_id and changed_at are required")
	}
	if len(e.Lines) == 0 || len(e.Lines) > MaxLines {
		return fmt.Errorf("an abandoned cart has 1 to %d lines", MaxLines)
	}
	for i, l := range e.Lines {
		if l.SKU == "" || l.Quantity < 1 || l.Quantity > events.MaxQuantity {
			return fmt.Errorf("line %d: a sku and a quantity from 1 to %d are required", i, events.MaxQuantity)
		}
	}
	return nil
}
