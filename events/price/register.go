package price

import (
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

var soldOff = sample.AnswerBy

// Events are the types that price publishes.
var Events = events.Register("price", KindProduct,
	PriceUpdated{Products: []Product{
		{SKU: "71053", Version: 4, Priced: Priced{Prices: []Price{}}},
		{
			SKU: "85123A", Version: 2,
			Priced: Priced{Prices: []Price{
				{Currency: "GBP", Amount: 255, ListPrice: 295, ValidFrom: time.Date(2026, 6, 14, 23, 0, 0, 0, time.UTC), ValidUntil: &soldOff},
				{Currency: "JPY", Amount: 480, ListPrice: 480, ValidFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
			}},
		},
	}},
)

// CustomerEvents are the types that price publishes about customers.
var CustomerEvents = events.Register("price", events.KindCustomer, CustomerErased{sample.Erased})
