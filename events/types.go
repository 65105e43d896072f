package events

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Subject is what every payload carries: the order it belongs to.
type Subject struct {
	OrderID uuid.UUID `json:"order_id"`
}

// Order is the order the event belongs to.
func (s Subject) Order() uuid.UUID { return s.OrderID }

func (s Subject) validate() error {
	if s.OrderID == uuid.Nil {
		return errors.New("order_id is missing")
	}
	return nil
}

// OrderCreated: a customer's checkout was accepted. From checkout.
type OrderCreated struct {
	Subject
	CustomerID string `json:"customer_id"`
	Lines      []Line `json:"lines"`
	// Total is the sum of the lines.
	Total Money `json:"total"`
	// PaymentToken names the means of payment at the provider. It is opaque
	// and of no use without the provider's key.
	PaymentToken string `json:"payment_token"`
}

// InventoryReserved: all of the order's stock is held. From inventory. It hands
// on what payment needs, so that payment need not hear of unpayable orders.
type InventoryReserved struct {
	Subject
	Allocations  []Allocation `json:"allocations"`
	Total        Money        `json:"total"`
	PaymentToken string       `json:"payment_token"`
	// ExpiresAt is when inventory asks for the order to be cancelled.
	ExpiresAt time.Time `json:"expires_at"`
}

// ReservationFailed: nothing is held, since something is short. From inventory.
type ReservationFailed struct {
	Subject
	Reason    Reason     `json:"reason"`
	Shortages []Shortage `json:"shortages"`
}

// ReservationExpired: the order was not settled in time. The stock stays held
// until order.cancelled or order.confirmed answers. From inventory.
type ReservationExpired struct {
	Subject
	ExpiredAt time.Time `json:"expired_at"`
}

// InventoryReleased: what was held is for sale again. From inventory.
type InventoryReleased struct {
	Subject
	Allocations []Allocation `json:"allocations"`
}

// PaymentCompleted: the customer is charged. From payment.
type PaymentCompleted struct {
	Subject
	ChargeID string `json:"charge_id"`
	Amount   Money  `json:"amount"`
}

// PaymentFailed: the customer is not charged and never will be for this order.
// From payment.
type PaymentFailed struct {
	Subject
	Reason Reason `json:"reason"`
}

// PaymentRefunded: a charge of a cancelled order went back. From payment.
type PaymentRefunded struct {
	Subject
	RefundID string `json:"refund_id"`
	Amount   Money  `json:"amount"`
}

// OrderConfirmed: stock is held and paid for; inventory ships. From order.
// Final: an order is confirmed or cancelled, never both.
type OrderConfirmed struct {
	Subject
	CustomerID string `json:"customer_id"`
	Total      Money  `json:"total"`
}

// OrderCancelled: the order will not ship; what is held is released, what is
// charged is refunded. From order. Final.
type OrderCancelled struct {
	Subject
	CustomerID string `json:"customer_id"`
	Reason     Reason `json:"reason"`
}

// Type is checkout.order.created.
func (OrderCreated) Type() string { return TypeOrderCreated }

// Type is inventory.reserved.
func (InventoryReserved) Type() string { return TypeInventoryReserved }

// Type is inventory.reservation.failed.
func (ReservationFailed) Type() string { return TypeReservationFailed }

// Type is inventory.reservation.expired.
func (ReservationExpired) Type() string { return TypeReservationExpired }

// Type is inventory.released.
func (InventoryReleased) Type() string { return TypeInventoryReleased }

// Type is payment.completed.
func (PaymentCompleted) Type() string { return TypePaymentCompleted }

// Type is payment.failed.
func (PaymentFailed) Type() string { return TypePaymentFailed }

// Type is payment.refunded.
func (PaymentRefunded) Type() string { return TypePaymentRefunded }

// Type is order.confirmed.
func (OrderConfirmed) Type() string { return TypeOrderConfirmed }

// Type is order.cancelled.
func (OrderCancelled) Type() string { return TypeOrderCancelled }

// Validate checks customer, lines, total and token.
func (e OrderCreated) Validate() error {
	if err := errors.Join(e.Subject.validate(), e.Total.validate()); err != nil {
		return err
	}
	if e.CustomerID == "" || e.PaymentToken == "" {
		return errors.New("customer_id and payment_token are required")
	}
	return validLines(e.Lines, e.Total)
}

// Validate checks allocations, total, token and expiry.
func (e InventoryReserved) Validate() error {
	if err := errors.Join(e.Subject.validate(), e.Total.validate(), validAllocations(e.Allocations)); err != nil {
		return err
	}
	if e.PaymentToken == "" || e.ExpiresAt.IsZero() {
		return errors.New("payment_token and expires_at are required")
	}
	return nil
}

// Validate checks the reason.
func (e ReservationFailed) Validate() error {
	return errors.Join(e.Subject.validate(), e.Reason.validate())
}

// Validate checks the time.
func (e ReservationExpired) Validate() error {
	if e.ExpiredAt.IsZero() {
		return errors.New("expired_at is required")
	}
	return e.Subject.validate()
}

// Validate checks the allocations.
func (e InventoryReleased) Validate() error {
	return errors.Join(e.Subject.validate(), validAllocations(e.Allocations))
}

// Validate checks charge and amount.
func (e PaymentCompleted) Validate() error {
	if e.ChargeID == "" {
		return errors.New("charge_id is required")
	}
	return errors.Join(e.Subject.validate(), e.Amount.validate())
}

// Validate checks the reason.
func (e PaymentFailed) Validate() error {
	return errors.Join(e.Subject.validate(), e.Reason.validate())
}

// Validate checks refund and amount.
func (e PaymentRefunded) Validate() error {
	if e.RefundID == "" {
		return errors.New("refund_id is required")
	}
	return errors.Join(e.Subject.validate(), e.Amount.validate())
}

// Validate checks the total.
func (e OrderConfirmed) Validate() error {
	return errors.Join(e.Subject.validate(), e.Total.validate())
}

// Validate checks the reason.
func (e OrderCancelled) Validate() error {
	return errors.Join(e.Subject.validate(), e.Reason.validate())
}

func validLines(lines []Line, total Money) error {
	if len(lines) == 0 || len(lines) > MaxLines {
		return fmt.Errorf("an order has 1 to %d lines", MaxLines)
	}
	var sum int64
	for i, l := range lines {
		if err := l.validate(); err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
		sum += l.Quantity * l.UnitPrice
	}
	if sum != total.Amount {
		return fmt.Errorf("total %d is not the sum of the lines, %d", total.Amount, sum)
	}
	return nil
}

func validAllocations(as []Allocation) error {
	if len(as) == 0 {
		return errors.New("allocations are missing")
	}
	for i, a := range as {
		if a.SKU == "" || a.Warehouse == "" || a.Quantity <= 0 {
			return fmt.Errorf("allocation %d: sku, warehouse and a positive quantity are required", i)
		}
	}
	return nil
}
