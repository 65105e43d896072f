// Package inventory holds the events that inventory publishes.
package inventory

import (
	"errors"
	"time"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeReserved           = "inventory.reserved"
	TypeReservationFailed  = "inventory.reservation.failed"
	TypeReservationExpired = "inventory.reservation.expired"
	TypeReleased           = "inventory.released"
	TypeCommitted          = "inventory.committed"
)

// Reserved: all of the stock of the order is held. It hands
// on what payment needs, so that payment need not hear of unpayable orders.
type Reserved struct {
	events.OfOrder
	Allocations  []events.Allocation `json:"allocations"`
	Total        events.Money        `json:"total"`
	PaymentToken string              `json:"payment_token"`
	// ExpiresAt is when inventory asks for the order to be cancelled.
	ExpiresAt time.Time `json:"expires_at"`
}

// ReservationFailed: nothing is held, since something is short.
type ReservationFailed struct {
	events.OfOrder
	Reason    events.Reason     `json:"reason"`
	Shortages []events.Shortage `json:"shortages"`
}

// ReservationExpired: the order was not settled in time. The stock stays held
// until order.cancelled or order.confirmed answers.
type ReservationExpired struct {
	events.OfOrder
	ExpiredAt time.Time `json:"expired_at"`
}

// Released: what was held is for sale again.
type Released struct {
	events.OfOrder
	Allocations []events.Allocation `json:"allocations"`
}

// Committed: the stock of an order, a customer's or a company's, is final and leaves
// these warehouses. There is one for each order that ships, and none for others.
type Committed struct {
	events.OfOrder
	Allocations []events.Allocation `json:"allocations"`
}

// Type is inventory.reserved.
func (Reserved) Type() string { return TypeReserved }

// Type is inventory.reservation.failed.
func (ReservationFailed) Type() string { return TypeReservationFailed }

// Type is inventory.reservation.expired.
func (ReservationExpired) Type() string { return TypeReservationExpired }

// Type is inventory.released.
func (Released) Type() string { return TypeReleased }

// Type is inventory.committed.
func (Committed) Type() string { return TypeCommitted }

// Validate checks allocations, total, token and expiry.
func (e Reserved) Validate() error {
	if err := errors.Join(e.OfOrder.Validate(), e.Total.Validate(), events.ValidateAllocations(e.Allocations)); err != nil {
		return err
	}
	if e.PaymentToken == "" || e.ExpiresAt.IsZero() {
		return errors.New("payment_token and expires_at are required")
	}
	return nil
}

// Validate checks the reason.
func (e ReservationFailed) Validate() error {
	return errors.Join(e.OfOrder.Validate(), e.Reason.Validate())
}

// Validate checks the time.
func (e ReservationExpired) Validate() error {
	if e.ExpiredAt.IsZero() {
		return errors.New("expired_at is required")
	}
	return e.OfOrder.Validate()
}

// Validate checks the allocations.
func (e Released) Validate() error {
	return errors.Join(e.OfOrder.Validate(), events.ValidateAllocations(e.Allocations))
}

// Validate checks the allocations.
func (e Committed) Validate() error {
	return errors.Join(e.OfOrder.Validate(), events.ValidateAllocations(e.Allocations))
}
