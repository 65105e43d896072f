package catalog

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/fault"
)

// Bounds of a product. Together with that of a request's body they keep its events small
// enough for every broker.
const (
	maxTitle             = 200
	maxDescription       = 10_000
	maxCategories        = 10
	maxAttributes        = 50
	maxVariants          = 100
	maxVariantAttributes = 20
	maxValue             = 100
	maxMedia             = 20
	maxURL               = 1_000
	maxAlt               = 300
)

// CategoryFacet is the name of the facet that categories make. No attribute is called so.
const CategoryFacet = "category"

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// normalize gives empty lists the one form that they have in the database.
func (c *Content) normalize() {
	c.Categories = list(c.Categories)
	c.Attributes = list(c.Attributes)
	c.Variants = list(c.Variants)
	c.Media = list(c.Media)
	for i := range c.Variants {
		c.Variants[i].Attributes = list(c.Variants[i].Attributes)
	}
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// check returns the first fault of a content.
func (c *Content) check() error {
	switch c.State {
	case Draft, Published, Retired:
	default:
		return fault.Field("state", "malformed", "state is draft, published or retired.")
	}
	if err := checkText("title", c.Title, 1, maxTitle); err != nil {
		return err
	}
	if err := checkText("description", c.Description, 0, maxDescription); err != nil {
		return err
	}
	if err := c.checkCategories(); err != nil {
		return err
	}
	if err := checkAttributes("attributes", c.Attributes, maxAttributes); err != nil {
		return err
	}
	if err := c.checkVariants(); err != nil {
		return err
	}
	return c.checkMedia()
}

func (c *Content) checkCategories() error {
	if len(c.Categories) > maxCategories {
		return fault.Field("categories", "out_of_range", "A product is in %d categories at most.", maxCategories)
	}
	seen := make(map[string]bool)
	for i, id := range c.Categories {
		field := fmt.Sprintf("categories[%d]", i)
		if err := events.CheckName(field, id); err != nil {
			return err
		}
		if seen[id] {
			return fault.Field(field, "repeated", "Each category may be named once.")
		}
		seen[id] = true
	}
	return nil
}

func checkAttributes(field string, attributes []catalog.Attribute, most int) error {
	if len(attributes) > most {
		return fault.Field(field, "out_of_range", "There may be %d attributes here.", most)
	}
	seen := make(map[catalog.Attribute]bool)
	for i, a := range attributes {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !attributeName.MatchString(a.Name) || a.Name == CategoryFacet {
			return fault.Field(at+".name", "malformed", "A name is 1 to 40 of a-z 0-9 _, begins with a letter, and is not %s.", CategoryFacet)
		}
		if err := checkText(at+".value", a.Value, 1, maxValue); err != nil {
			return err
		}
		if seen[a] {
			return fault.Field(at, "repeated", "Each attribute may have a value once.")
		}
		seen[a] = true
	}
	return nil
}

func (c *Content) checkVariants() error {
	if len(c.Variants) == 0 || len(c.Variants) > maxVariants {
		return fault.Field("variants", "out_of_range", "A product has 1 to %d variants.", maxVariants)
	}
	seen := make(map[string]bool)
	for i, v := range c.Variants {
		field := fmt.Sprintf("variants[%d]", i)
		if err := events.CheckName(field+".sku", v.SKU); err != nil {
			return err
		}
		if seen[v.SKU] {
			return fault.Field(field+".sku", "repeated", "Each SKU may be named once.")
		}
		seen[v.SKU] = true
		if err := checkText(field+".title", v.Title, 0, maxTitle); err != nil {
			return err
		}
		if err := checkAttributes(field+".attributes", v.Attributes, maxVariantAttributes); err != nil {
			return err
		}
	}
	return nil
}

func (c *Content) checkMedia() error {
	if len(c.Media) > maxMedia {
		return fault.Field("media", "out_of_range", "A product has %d media at most.", maxMedia)
	}
	for i, m := range c.Media {
		field := fmt.Sprintf("media[%d]", i)
		if m.Kind != "image" && m.Kind != "video" {
			return fault.Field(field+".kind", "malformed", "kind is image or video.")
		}
		if u, err := url.Parse(m.URL); err != nil || u.Scheme != "https" || u.Host == "" || len(m.URL) > maxURL {
			return fault.Field(field+".url", "malformed", "url is an https address of %d bytes at most.", maxURL)
		}
		if err := checkText(field+".alt", m.Alt, 0, maxAlt); err != nil {
			return err
		}
	}
	return nil
}

// checkText checks a text that people read. Control characters, which PostgreSQL takes only
// some of, are refused but for line breaks and tabs.
func checkText(field, text string, least, most int) error {
	n := utf8.RuneCountInString(text)
	if n > most || n < least || least > 0 && strings.TrimSpace(text) == "" {
		return fault.Field(field, "out_of_range", "%s has %d to %d characters.", field, least, most)
	}
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError {
			return fault.Field(field, "malformed", "%s holds a character that is not for reading.", field)
		}
	}
	return nil
}
