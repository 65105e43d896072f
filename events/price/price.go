// Package price holds what price publishes: events about what products cost, and the quote.
package price

import (
	"errors"
	"fmt"
	"time"

	"quadrille.internal/events"
)

// KindProduct is the kind of events about products, whose subject is a SKU.
const KindProduct events.Kind = "product"

// TypePriceUpdated is also the name of the topic.
const TypePriceUpdated = "product.price.updated"

// MaxProducts is how many products one PriceUpdated tells at most.
const MaxProducts = 100

// PriceUpdated: some products cost everybody something else from now on, since a list was
// changed, or became valid or invalid. It tells the newest states, not each change, and
// comes a second or so after them. Of each SKU keep the state with the highest version:
// events with states of one SKU may come in any order. PriceSnapshot in events/proto has
// those of all SKUs. What a customer pays, with groups, quantities and promotions, only a
// quote says.
type PriceUpdated struct {
	// Products are 1 to 100, by SKU, each once.
	Products []Product `json:"products"`
}

// Product is the state of a SKU.
type Product struct {
	SKU string `json:"sku"`
	// Version grows with each state that is published.
	Version int64 `json:"version"`
	Priced
}

// Priced is what a SKU costs everybody. Without a price it cannot be bought.
type Priced struct {
	// Prices are by currency, each once.
	Prices []Price `json:"prices"`
}

// Price is what one piece costs in a currency, in minor units, without tax.
type Price struct {
	Currency string `json:"currency"`
	// Amount is what is asked now, ListPrice what is asked without any offer.
	Amount    int64 `json:"amount"`
	ListPrice int64 `json:"list_price"`
	// ValidFrom is since when the list that has Amount is valid, and ValidUntil until when the
	// price stays, or nil where that is not known. Another event comes then.
	ValidFrom  time.Time  `json:"valid_from"`
	ValidUntil *time.Time `json:"valid_until"`
}

// Type is product.price.updated.
func (PriceUpdated) Type() string { return TypePriceUpdated }

// Subject is the first of the SKUs.
func (e PriceUpdated) Subject() string {
	if len(e.Products) == 0 {
		return ""
	}
	return e.Products[0].SKU
}

// Key is the first of the SKUs, which spreads the events over partitions.
func (e PriceUpdated) Key() string { return e.Subject() }

// Validate checks the number of products and each of them.
func (e PriceUpdated) Validate() error {
	if n := len(e.Products); n < 1 || n > MaxProducts {
		return fmt.Errorf("%d products, want 1 to %d", n, MaxProducts)
	}
	for i, p := range e.Products {
		if i > 0 && p.SKU <= e.Products[i-1].SKU {
			return fmt.Errorf("product %d: %q is not behind %q", i, p.SKU, e.Products[i-1].SKU)
		}
		if err := p.validate(); err != nil {
			return fmt.Errorf("product %d: %w", i, err)
		}
	}
	return nil
}

func (p Product) validate() error {
	if p.SKU == "" || p.Version < 1 {
		return errors.New("sku and version are required")
	}
	for i, c := range p.Prices {
		if err := (events.Money{Amount: c.Amount, Currency: c.Currency}).Validate(); err != nil {
			return err
		}
		if i > 0 && c.Currency <= p.Prices[i-1].Currency {
			return fmt.Errorf("%s is not behind %s", c.Currency, p.Prices[i-1].Currency)
		}
		if c.Amount > c.ListPrice || c.ValidFrom.IsZero() || c.ValidUntil != nil && !c.ValidUntil.After(c.ValidFrom) {
			return fmt.Errorf("%s: a list price as high as amount, valid_from and a later valid_until are required", c.Currency)
		}
	}
	return nil
}
