// Package events is Quadrille's published language: domain events, their topics
// and the CloudEvents envelope that carries them. The types of each service are in
// a package of its name. Systems that integrate through topics import these and
// nothing else of Quadrille; package all has every type.
//
// A topic is named after its event type, one type a topic. An event is about one
// subject, an order or a SKU for example. Events with the same partition key come in
// order within their topic and partition, as a rule; consumers may rely on no order
// across topics and must expect duplicates. The CloudEvents id is the key to
// deduplicate by.
package events

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Event is a typed payload.
type Event interface {
	// Type is the event type and topic.
	Type() string
	// Subject is the id of what the event is about, which is of the kind that the type
	// is registered with.
	Subject() string
	// Key is the partition key: the subject, as a rule.
	Key() string
	// Validate reports the first rule of the contract the payload breaks.
	Validate() error
}

// OfOrder is embedded in the payload of each event that is about an order.
type OfOrder struct {
	OrderID uuid.UUID `json:"order_id"`
}

// Order is the order the event is about.
func (o OfOrder) Order() uuid.UUID { return o.OrderID }

// Subject is the order's id.
func (o OfOrder) Subject() string { return o.OrderID.String() }

// Key is the order's id.
func (o OfOrder) Key() string { return o.OrderID.String() }

// Validate checks that there is an order.
func (o OfOrder) Validate() error {
	if o.OrderID == uuid.Nil {
		return errors.New("order_id is missing")
	}
	return nil
}

// OrderOf returns the order that an event is about, or the nil UUID where it is about
// something else.
func OrderOf(e Event) uuid.UUID {
	if of, ok := e.(interface{ Order() uuid.UUID }); ok {
		return of.Order()
	}
	return uuid.Nil
}

// Money is an amount in minor units (pence, cents) of an ISO 4217 currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Validate checks sign and form.
func (m Money) Validate() error {
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

// Validate checks that there are both.
func (r Reason) Validate() error {
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

// ValidateLines checks the lines of an order, whose sum is its total.
func ValidateLines(lines []Line, total Money) error { return ValidateOrder(lines, Extras{}, total) }

// ValidateAllocations checks that there are some, and each of them.
func ValidateAllocations(as []Allocation) error {
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
