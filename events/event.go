// Package events is Quadrille's published language: the typed domain events,
// their topics and the CloudEvents envelope that carries them. Systems that
// integrate through topics import this package and nothing else of Quadrille.
//
// A topic is named after its event type, one type a topic. Every event belongs
// to one order: the order id is the CloudEvents subject and the partition key.
// Consumers may rely on no order across topics and must expect duplicates;
// the CloudEvents id is the key to deduplicate by.
package events

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Event types, which are also the names of the topics that carry them.
const (
	TypeOrderCreated       = "checkout.order.created"
	TypeInventoryReserved  = "inventory.reserved"
	TypeReservationFailed  = "inventory.reservation.failed"
	TypeReservationExpired = "inventory.reservation.expired"
	TypeInventoryReleased  = "inventory.released"
	TypePaymentCompleted   = "payment.completed"
	TypePaymentFailed      = "payment.failed"
	TypePaymentRefunded    = "payment.refunded"
	TypeOrderConfirmed     = "order.confirmed"
	TypeOrderCancelled     = "order.cancelled"

	TypeB2BOrderSubmitted    = "b2b.order.submitted"
	TypeB2BApprovalRequested = "b2b.approval.requested"
	TypeB2BApprovalEscalated = "b2b.approval.escalated"
	TypeB2BOrderApproved     = "b2b.order.approved"
	TypeB2BOrderRejected     = "b2b.order.rejected"
	TypeB2BOrderAllocated    = "b2b.order.allocated"
	TypeB2BOrderCompleted    = "b2b.order.completed"
	TypeB2BOrderFailed       = "b2b.order.failed"
)

// Event is one of the typed payloads of this package.
type Event interface {
	// Type is the event type and topic.
	Type() string
	// Order is the order the event belongs to.
	Order() uuid.UUID
	// Validate reports the first rule of the contract the payload breaks.
	Validate() error
}

// ErrUnknownType says that a type is none of this package's.
var ErrUnknownType = errors.New("unknown event type")

// blank returns a new, empty payload of a type, or nil if the type is unknown.
func blank(eventType string) Event {
	switch eventType {
	case TypeOrderCreated:
		return new(OrderCreated)
	case TypeInventoryReserved:
		return new(InventoryReserved)
	case TypeReservationFailed:
		return new(ReservationFailed)
	case TypeReservationExpired:
		return new(ReservationExpired)
	case TypeInventoryReleased:
		return new(InventoryReleased)
	case TypePaymentCompleted:
		return new(PaymentCompleted)
	case TypePaymentFailed:
		return new(PaymentFailed)
	case TypePaymentRefunded:
		return new(PaymentRefunded)
	case TypeOrderConfirmed:
		return new(OrderConfirmed)
	case TypeOrderCancelled:
		return new(OrderCancelled)
	default:
		return blankB2B(eventType)
	}
}

// Money is an amount in minor units (pence, cents) of an ISO 4217 currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

func (m Money) validate() error {
	if m.Amount < 0 {
		return fmt.Errorf("amount %d is negative", m.Amount)
	}
	if !currencyForm(m.Currency) {
		return fmt.Errorf("currency %q is not three capital letters", m.Currency)
	}
	return nil
}

// Reason says why an order did not go through.
type Reason struct {
	// Code is stable, for programs: one of the Reason constants.
	Code string `json:"code"`
	// Message is for the customer.
	Message string `json:"message"`
}

// Reason codes.
const (
	ReasonOutOfStock         = "out_of_stock"
	ReasonPaymentDeclined    = "payment_declined"
	ReasonInsufficientFunds  = "insufficient_funds"
	ReasonPaymentInvalid     = "payment_invalid"
	ReasonReservationExpired = "reservation_expired"
	ReasonCustomerRequest    = "customer_request"
)

func (r Reason) validate() error {
	if r.Code == "" || r.Message == "" {
		return errors.New("a reason needs code and message")
	}
	return nil
}

// Line is one position of an order. UnitPrice is in minor units of the order's
// currency. A SKU may stand on several lines of one order, at several prices.
type Line struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

// Bounds of an order. Together they keep a total within an int64.
const (
	MaxLines     = 1_000
	MaxQuantity  = 1_000_000
	MaxUnitPrice = 1_000_000_000
)

func (l Line) validate() error {
	switch {
	case l.SKU == "":
		return errors.New("sku is required")
	case l.Quantity < 1 || l.Quantity > MaxQuantity:
		return fmt.Errorf("quantity %d is not within 1 and %d", l.Quantity, MaxQuantity)
	case l.UnitPrice < 0 || l.UnitPrice > MaxUnitPrice:
		return fmt.Errorf("unit_price %d is not within 0 and %d", l.UnitPrice, MaxUnitPrice)
	default:
		return nil
	}
}

// Allocation is stock of one SKU in one warehouse that an order draws on.
type Allocation struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	Quantity  int64  `json:"quantity"`
}

// Shortage is a SKU an order asked more of than there was.
type Shortage struct {
	SKU       string `json:"sku"`
	Requested int64  `json:"requested"`
	Available int64  `json:"available"`
}
