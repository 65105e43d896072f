package catalog

import (
	"reflect"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
)

// State is where a product stands.
type State string

// The states. A draft is seen by operators only; what is retired is no longer found, but
// still shown to those who bought it.
const (
	Draft     State = "draft"
	Published State = "published"
	Retired   State = "retired"
)

// next are the states that may follow one; the first save may make either of "".
var next = map[State][]State{
	"":        {Draft, Published},
	Draft:     {Draft, Published},
	Published: {Published, Retired},
	Retired:   {Retired, Published},
}

// Content is what operators say of a product: all of it, each time. The JSON names are
// columns, too.
type Content struct {
	State       State               `json:"state"`
	Title       string              `json:"title"`
	Description string              `json:"description"`
	Categories  []string            `json:"categories"`
	Attributes  []catalog.Attribute `json:"attributes"`
	Variants    []catalog.Variant   `json:"variants"`
	Media       []catalog.Media     `json:"media"`
}

// Product is what is sold, in one or several variants. The JSON names are the columns.
type Product struct {
	ID string `json:"id"`
	aggregate.Versioned
	Content
	// PublishedAt is when it was first published.
	PublishedAt *time.Time `json:"published_at,omitempty"`
	RetiredAt   *time.Time `json:"retired_at,omitempty"`
}

// Key is the id.
func (p *Product) Key() string { return p.ID }

// SKUs are those of the variants.
func (c *Content) SKUs() []string {
	skus := make([]string, len(c.Variants))
	for i, v := range c.Variants {
		skus[i] = v.SKU
	}
	return skus
}

// Change gives the product a content, which must be valid, and returns what that says to
// others: nil where nobody but operators sees it, or nothing changes. The event has the
// version that the product has once it is saved.
func (p *Product) Change(c Content, now time.Time) (changed bool, event events.Event, err error) {
	if !follows(p.State, c.State) {
		return false, nil, fault.New(fault.Conflict, "state_not_possible", "The product is %s and cannot become %s.", named(p.State), c.State)
	}
	if reflect.DeepEqual(p.Content, c) {
		return false, nil, nil
	}
	was := p.State
	if was == Retired && c.State == Retired {
		return false, nil, fault.New(fault.Conflict, "product_retired", "A retired product changes only by being published again.")
	}
	p.Content = c
	switch {
	case c.State == Published:
		if p.PublishedAt == nil {
			p.PublishedAt = &now
		}
		p.RetiredAt = nil
		return true, p.updated(), nil
	case c.State == Retired:
		p.RetiredAt = &now
		return true, catalog.ProductRetired{ProductID: p.ID, Version: p.Version + 1, SKUs: p.SKUs(), RetiredAt: now}, nil
	default:
		return true, nil, nil
	}
}

func (p *Product) updated() catalog.ProductUpdated {
	return catalog.ProductUpdated{
		ProductID: p.ID, Version: p.Version + 1, Title: p.Title, Description: p.Description,
		Categories: p.Categories, Attributes: p.Attributes, Variants: p.Variants, Media: p.Media, PublishedAt: *p.PublishedAt,
	}
}

func follows(was, becomes State) bool {
	for _, s := range next[was] {
		if s == becomes {
			return true
		}
	}
	return false
}

func named(s State) string {
	if s == "" {
		return "new"
	}
	return string(s)
}
