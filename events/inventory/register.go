package inventory

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types about orders that inventory publishes.
var Events = events.Register("inventory", events.KindOrder,
	Reserved{
		OfOrder: sample.Order, Allocations: sample.Allocations(), Total: sample.Total, PaymentToken: "tok_success",
		ExpiresAt: sample.ExpiresAt,
	},
	ReservationFailed{
		OfOrder:   sample.Order,
		Reason:    events.Reason{Code: events.ReasonOutOfStock, Message: "71053 is out of stock."},
		Shortages: []events.Shortage{{SKU: "71053", Requested: 1, Available: 0}},
	},
	ReservationExpired{OfOrder: sample.Order, ExpiredAt: sample.ExpiresAt},
	Released{OfOrder: sample.Order, Allocations: sample.Allocations()},
	Committed{OfOrder: sample.Order, Allocations: sample.Allocations()},
)

// StockEvents are those about SKUs.
var StockEvents = events.Register("inventory", KindSKU,
	StockChanged{SKUs: []ChangedSKU{
		{
			SKU: "22423", Version: 1,
			StockLevel: StockLevel{Available: 0, Warehouses: []WarehouseLevel{{Warehouse: "leeds", Available: 0}}},
		},
		{
			SKU: "85123A", Version: 7,
			StockLevel: StockLevel{Available: 12, Warehouses: []WarehouseLevel{{Warehouse: "leeds", Available: 2}, {Warehouse: "london", Available: 10}}},
		},
	}},
)

// CustomerEvents are the types that inventory publishes about customers.
var CustomerEvents = events.Register("inventory", events.KindCustomer, CustomerErased{sample.Erased})
