package catalog

import (
	"strings"
	"testing"
	"time"

	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/fault"
)

var epoch = time.Date(2026, 6, 15, 9, 30, 0, 0, time.UTC)

func content(state State, title string) Content {
	c := Content{State: state, Title: title, Variants: []catalog.Variant{{SKU: "A"}}}
	c.normalize()
	return c
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		was, becomes State
		code, event  string
	}{
		{"", Draft, "", ""},
		{"", Published, "", catalog.TypeProductUpdated},
		{"", Retired, "state_not_possible", ""},
		{Draft, Draft, "", ""},
		{Draft, Published, "", catalog.TypeProductUpdated},
		{Draft, Retired, "state_not_possible", ""},
		{Published, Draft, "state_not_possible", ""},
		{Published, Published, "", catalog.TypeProductUpdated},
		{Published, Retired, "", catalog.TypeProductRetired},
		{Retired, Draft, "state_not_possible", ""},
		{Retired, Published, "", catalog.TypeProductUpdated},
		{Retired, Retired, "product_retired", ""},
	} {
		p := &Product{ID: "p"}
		p.Version = 4
		if c.was != "" {
			p.Content, p.PublishedAt = content(c.was, "before"), &epoch
		}
		changed, event, err := p.Change(content(c.becomes, "after"), epoch.Add(time.Hour))
		code := ""
		if err != nil {
			code = fault.Of(err).Code
		}
		got := ""
		if event != nil {
			got = event.Type()
			if err := event.Validate(); err != nil {
				t.Errorf("%s to %s: %v", c.was, c.becomes, err)
			}
		}
		if code != c.code || got != c.event || changed != (c.code == "") {
			t.Errorf("%q to %q: changed %v, event %q, %v", c.was, c.becomes, changed, got, err)
		}
		if e, ok := event.(catalog.ProductUpdated); ok && (e.Version != 5 || e.Title != "after") {
			t.Errorf("%q to %q: told %+v", c.was, c.becomes, e)
		}
	}
}

func TestTheSameContentIsNoChange(t *testing.T) {
	for _, state := range []State{Draft, Published, Retired} {
		p := &Product{ID: "p", Content: content(state, "title"), PublishedAt: &epoch}
		if changed, event, err := p.Change(content(state, "title"), epoch); changed || event != nil || err != nil {
			t.Errorf("%s: changed %v, event %v, %v", state, changed, event, err)
		}
	}
}

func TestPublishedAgainKeepsItsDate(t *testing.T) {
	later := epoch.Add(time.Hour)
	p := &Product{ID: "p", Content: content(Retired, "title"), PublishedAt: &epoch, RetiredAt: &later}
	if _, _, err := p.Change(content(Published, "title"), later); err != nil || !p.PublishedAt.Equal(epoch) || p.RetiredAt != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestContentIsChecked(t *testing.T) {
	attributes := func(name, value string) []catalog.Attribute { return []catalog.Attribute{{Name: name, Value: value}} }
	for name, c := range map[string]struct {
		spoil func(*Content)
		field string
	}{
		"nothing":              {func(*Content) {}, ""},
		"no state":             {func(c *Content) { c.State = "" }, "state"},
		"no title":             {func(c *Content) { c.Title = " " }, "title"},
		"long title":           {func(c *Content) { c.Title = strings.Repeat("ü", maxTitle+1) }, "title"},
		"NUL":                  {func(c *Content) { c.Title = "a\x00b" }, "title"},
		"replaced character":   {func(c *Content) { c.Description = "\uFFFD" }, "description"},
		"lines":                {func(c *Content) { c.Description = "a\n\tb" }, ""},
		"long description":     {func(c *Content) { c.Description = strings.Repeat("x", maxDescription+1) }, "description"},
		"category":             {func(c *Content) { c.Categories = []string{"a b"} }, "categories[0]"},
		"category twice":       {func(c *Content) { c.Categories = []string{"a", "a"} }, "categories[1]"},
		"many categories":      {func(c *Content) { c.Categories = make([]string, maxCategories+1) }, "categories"},
		"attribute name":       {func(c *Content) { c.Attributes = attributes("Colour", "red") }, "attributes[0].name"},
		"attribute category":   {func(c *Content) { c.Attributes = attributes("category", "red") }, "attributes[0].name"},
		"attribute value":      {func(c *Content) { c.Attributes = attributes("colour", "") }, "attributes[0].value"},
		"attribute twice":      {func(c *Content) { c.Attributes = append(attributes("a", "b"), attributes("a", "b")...) }, "attributes[1]"},
		"two values":           {func(c *Content) { c.Attributes = append(attributes("a", "b"), attributes("a", "c")...) }, ""},
		"no variants":          {func(c *Content) { c.Variants = nil }, "variants"},
		"SKU":                  {func(c *Content) { c.Variants[0].SKU = "a b" }, "variants[0].sku"},
		"SKU twice":            {func(c *Content) { c.Variants = append(c.Variants, c.Variants[0]) }, "variants[1].sku"},
		"attribute of variant": {func(c *Content) { c.Variants[0].Attributes = attributes("1", "b") }, "variants[0].attributes[0].name"},
		"media kind":           {func(c *Content) { c.Media = []catalog.Media{{Kind: "pdf", URL: "https://a/b"}} }, "media[0].kind"},
		"media over http":      {func(c *Content) { c.Media = []catalog.Media{{Kind: "image", URL: "http://a/b"}} }, "media[0].url"},
		"media script":         {func(c *Content) { c.Media = []catalog.Media{{Kind: "image", URL: "javascript:alert(1)"}} }, "media[0].url"},
	} {
		ok := content(Published, "title")
		c.spoil(&ok)
		err := ok.check()
		field := ""
		if err != nil {
			field = fieldOf(err)
		}
		if field != c.field {
			t.Errorf("%s: %v, want a fault of %q", name, err, c.field)
		}
	}
}
