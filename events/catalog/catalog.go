// Package catalog holds the events that catalog publishes.
package catalog

import (
	"errors"
	"fmt"
	"time"

	"quadrille.internal/events"
)

// KindProduct is the kind of events about products.
const KindProduct events.Kind = "product"

// The event types, which are also the names of the topics.
const (
	TypeProductUpdated = "catalog.product.updated"
	TypeProductRetired = "catalog.product.retired"
)

// ProductUpdated: a product was published, or changed while it is published. It tells the
// whole product. Of each product keep the event with the highest version: those of both
// types count alike, and may come late, twice and in any order.
type ProductUpdated struct {
	ProductID string `json:"product_id"`
	// Version grows with each change of the product.
	Version     int64  `json:"version"`
	Title       string `json:"title"`
	Description string `json:"description"`
	// Categories are ids.
	Categories []string    `json:"categories"`
	Attributes []Attribute `json:"attributes"`
	// Variants are what can be bought, one at least.
	Variants    []Variant `json:"variants"`
	Media       []Media   `json:"media"`
	PublishedAt time.Time `json:"published_at"`
}

// ProductRetired: a product is no longer sold.
type ProductRetired struct {
	ProductID string    `json:"product_id"`
	Version   int64     `json:"version"`
	SKUs      []string  `json:"skus"`
	RetiredAt time.Time `json:"retired_at"`
}

// Attribute is what a product or a variant is like, such as colour: blue.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Variant is what can be bought of a product. A SKU belongs to one product.
type Variant struct {
	SKU        string      `json:"sku"`
	Title      string      `json:"title"`
	Attributes []Attribute `json:"attributes"`
}

// Media is a link to a picture or a film.
type Media struct {
	Kind string `json:"kind"` // "image" or "video"
	URL  string `json:"url"`
	// Alt says in words what it shows.
	Alt string `json:"alt"`
}

// Type is catalog.product.updated.
func (ProductUpdated) Type() string { return TypeProductUpdated }

// Type is catalog.product.retired.
func (ProductRetired) Type() string { return TypeProductRetired }

// Subject is the product.
func (e ProductUpdated) Subject() string { return e.ProductID }

// Subject is the product.
func (e ProductRetired) Subject() string { return e.ProductID }

// Key is the product.
func (e ProductUpdated) Key() string { return e.ProductID }

// Key is the product.
func (e ProductRetired) Key() string { return e.ProductID }

// Validate checks that what makes a product is there.
func (e ProductUpdated) Validate() error {
	if e.ProductID == "" || e.Version < 1 || e.Title == "" || e.PublishedAt.IsZero() {
		return errors.New("product_id, version, title and published_at are required")
	}
	if len(e.Variants) == 0 {
		return errors.New("a product has one variant at least")
	}
	for i, v := range e.Variants {
		if v.SKU == "" {
			return fmt.Errorf("variant %d: sku is required", i)
		}
	}
	return nil
}

// Validate checks that it says what is retired, and when.
func (e ProductRetired) Validate() error {
	if e.ProductID == "" || e.Version < 1 || len(e.SKUs) == 0 || e.RetiredAt.IsZero() {
		return errors.New("product_id, version, skus and retired_at are required")
	}
	return nil
}
