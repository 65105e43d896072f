package catalog

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
)

// fieldOf is the field that an error is about.
func fieldOf(err error) string {
	if v, ok := errors.AsType[*events.Violation](err); ok {
		return v.Field
	}
	return fault.Of(err).Field
}

func TestTree(t *testing.T) {
	tree := Tree{}
	put := func(id, parent string) string {
		var above *string
		if parent != "" {
			above = &parent
		}
		if _, err := tree.Put(id, "name", above); err != nil {
			return fault.Of(err).Code
		}
		return ""
	}
	for i, c := range []struct{ id, parent, code string }{
		{"a", "", ""}, {"b", "a", ""}, {"c", "b", ""}, {"d", "none", "category_not_found"},
		{"a", "c", "category_cycle"}, {"a", "a", "category_cycle"}, {"b", "", ""}, {"a", "c", ""},
	} {
		if code := put(c.id, c.parent); code != c.code {
			t.Errorf("%d: %s below %q: %q, want %q", i, c.id, c.parent, code, c.code)
		}
	}
	if path := tree.Path("a"); !slices.Equal(path, []string{"a", "c", "b"}) {
		t.Errorf("the path is %v", path)
	}
	if path := tree.Path("none"); path != nil {
		t.Errorf("what does not exist has the path %v", path)
	}
}

func TestTreeIsBounded(t *testing.T) {
	tree := Tree{}
	name := func(i int) string { return fmt.Sprint("c", i) }
	var above *string
	for i := range maxDepth {
		if _, err := tree.Put(name(i), "name", above); err != nil {
			t.Fatal(err)
		}
		id := name(i)
		above = &id
	}
	if _, err := tree.Put("deeper", "name", above); fault.Of(err).Code != "category_too_deep" {
		t.Errorf("a level too deep: %v", err)
	}
	// Nor by moving a category with others below it.
	if _, err := tree.Put("top", "name", nil); err != nil {
		t.Fatal(err)
	}
	top := "top"
	if _, err := tree.Put(name(0), "name", &top); fault.Of(err).Code != "category_too_deep" {
		t.Errorf("moved too deep: %v", err)
	}
	if _, err := tree.Put(name(1), "name", &top); err != nil {
		t.Errorf("moved as deep as possible: %v", err)
	}
}
