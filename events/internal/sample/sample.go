// Package sample has the values that samples of events share.
package sample

import (
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// The order that all samples are about, and moments in its life.
var (
	OrderID   = uuid.MustParse("01977420-0000-7000-8000-00000000f00d")
	Order     = events.OfOrder{OrderID: OrderID}
	DecidedAt = time.Date(2026, 6, 15, 9, 30, 0, 123456000, time.UTC)
	ExpiresAt = time.Date(2026, 6, 15, 9, 45, 0, 0, time.UTC)
	// AnswerBy is when an approval must be given.
	AnswerBy = time.Date(2026, 6, 18, 9, 30, 0, 0, time.UTC)
	Total    = events.Money{Amount: 1869, Currency: "GBP"}
)

// Lines are those of the order.
func Lines() []events.Line {
	return []events.Line{
		{SKU: "85123A", Quantity: 6, UnitPrice: 255},
		{SKU: "71053", Quantity: 1, UnitPrice: 339},
	}
}

// Allocations are the stock that the order holds.
func Allocations() []events.Allocation {
	return []events.Allocation{
		{SKU: "85123A", Warehouse: "london", Quantity: 4},
		{SKU: "85123A", Warehouse: "leeds", Quantity: 2},
		{SKU: "71053", Warehouse: "london", Quantity: 1},
	}
}

// Cancelled is why a customer's own cancellation ends an order.
var Cancelled = events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."}

// Customer is who the samples about a customer are about, and Erased what a holder of
// the id did when it had to erase that customer.
var (
	Customer = events.OfCustomer{CustomerID: "0197741f-4a00-7000-8000-00000000cafe"}
	Erased   = events.Erased{OfCustomer: Customer, Deleted: 2, Pseudonymised: 3, Kept: 1}
)
