// Package checkout holds the events that checkout publishes.
package checkout

import (
	"errors"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics. An order is announced by one
// of them: who hears one hears both, and reads both with Created.
const (
	TypeOrderCreated   = "checkout.order.created"
	TypeOrderCreatedV2 = "checkout.order.created.v2"
)

// OrderCreated: a customer's checkout was accepted, at prices that its caller named.
type OrderCreated struct {
	events.OfOrder
	CustomerID string        `json:"customer_id"`
	Lines      []events.Line `json:"lines"`
	// Total is the sum of the lines.
	Total events.Money `json:"total"`
	// PaymentToken names the means of payment at the provider. It is opaque
	// and of no use without the provider's key.
	PaymentToken string `json:"payment_token"`
}

// OrderCreatedV2: a customer's checkout was accepted, at the prices of a quote.
type OrderCreatedV2 struct {
	events.OfOrder
	CustomerID string        `json:"customer_id"`
	Lines      []events.Line `json:"lines"`
	events.Extras
	// Total is the sum of the lines and the extras.
	Total        events.Money `json:"total"`
	PaymentToken string       `json:"payment_token"`
	QuoteID      uuid.UUID    `json:"quote_id"`
	// CartID is the cart that was quoted, if there was one.
	CartID string `json:"cart_id,omitempty"`
	// AddressID is where the order goes, in the books of customer.
	AddressID uuid.UUID `json:"address_id,omitzero"`
}

// Created returns what an event says of an order's creation, in the terms of version 2,
// or nil if it says nothing of that. What version 1 does not have is empty.
func Created(e events.Event) *OrderCreatedV2 {
	switch e := e.(type) {
	case *OrderCreatedV2:
		return e
	case *OrderCreated:
		return &OrderCreatedV2{OfOrder: e.OfOrder, CustomerID: e.CustomerID, Lines: e.Lines, Total: e.Total, PaymentToken: e.PaymentToken}
	default:
		return nil
	}
}

// Type is checkout.order.created.
func (OrderCreated) Type() string { return TypeOrderCreated }

// Type is checkout.order.created.v2.
func (OrderCreatedV2) Type() string { return TypeOrderCreatedV2 }

// Validate checks customer, lines, total and token.
func (e OrderCreated) Validate() error {
	return validate(e.OfOrder, e.CustomerID, e.PaymentToken, e.Lines, events.Extras{}, e.Total)
}

// Validate checks customer, quote, lines, extras, total and token.
func (e OrderCreatedV2) Validate() error {
	if e.QuoteID == uuid.Nil {
		return errors.New("quote_id is required")
	}
	return validate(e.OfOrder, e.CustomerID, e.PaymentToken, e.Lines, e.Extras, e.Total)
}

func validate(order events.OfOrder, customer, token string, lines []events.Line, x events.Extras, total events.Money) error {
	if err := errors.Join(order.Validate(), total.Validate()); err != nil {
		return err
	}
	if customer == "" || token == "" {
		return errors.New("customer_id and payment_token are required")
	}
	return events.ValidateOrder(lines, x, total)
}
