package catalog

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that catalog publishes.
var Events = events.Register("catalog", KindProduct,
	ProductUpdated{
		ProductID: "heart-holder", Version: 3, Title: "White hanging heart", Description: "Holds a tea light.",
		Categories: []string{"lights"}, Attributes: []Attribute{{Name: "material", Value: "metal"}},
		Variants:    []Variant{{SKU: "85123A", Title: "White", Attributes: []Attribute{{Name: "colour", Value: "white"}}}},
		Media:       []Media{{Kind: "image", URL: "https://media.example.com/85123A.jpg", Alt: "A white heart on a string"}},
		PublishedAt: sample.DecidedAt,
	},
	ProductRetired{ProductID: "heart-holder", Version: 4, SKUs: []string{"85123A"}, RetiredAt: sample.ExpiresAt},
)
