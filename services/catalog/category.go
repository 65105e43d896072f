package catalog

import (
	"slices"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
)

const (
	// maxDepth is how many categories lie above each other at most.
	maxDepth = 8
	// allCategories bounds the tree, which is read whole.
	allCategories = 5_000
)

// Category is a place for products. The JSON names are the columns.
type Category struct {
	ID string `json:"id"`
	aggregate.Versioned
	Name string `json:"name"`
	// Parent is nil at the top.
	Parent *string `json:"parent"`
}

// Key is the id.
func (c *Category) Key() string { return c.ID }

// Tree has all categories by id.
type Tree map[string]*Category

// Path returns a category and those above it, upwards. Of one that does not exist it
// returns nothing.
func (t Tree) Path(id string) (path []string) {
	for c := t[id]; c != nil && len(path) <= maxDepth; c = t[*c.Parent] {
		path = append(path, c.ID)
		if c.Parent == nil {
			break
		}
	}
	return path
}

// Put sets a category and reports whether that changes it.
func (t Tree) Put(id, name string, parent *string) (changed bool, err error) {
	c := t[id]
	if c == nil {
		if len(t) >= allCategories {
			return false, fault.New(fault.Conflict, "too_many_categories", "There are %d categories, which is the most.", allCategories)
		}
		c = &Category{ID: id}
	}
	if parent != nil {
		if t[*parent] == nil {
			return false, noCategory("parent", *parent)
		}
		above := t.Path(*parent)
		if slices.Contains(above, id) {
			return false, fault.New(fault.Conflict, "category_cycle", "%s lies below %s.", *parent, id)
		}
		if len(above)+t.height(id) > maxDepth {
			return false, fault.New(fault.Conflict, "category_too_deep", "Categories lie %d deep at most.", maxDepth)
		}
	}
	same := c.Version > 0 && c.Name == name && (c.Parent == nil) == (parent == nil) && (parent == nil || *c.Parent == *parent)
	c.Name, c.Parent = name, parent
	t[id] = c
	return !same, nil
}

// height counts the levels of a category with all below it.
func (t Tree) height(id string) int {
	highest := 1
	for _, c := range t {
		if path := t.Path(c.ID); slices.Contains(path, id) {
			highest = max(highest, slices.Index(path, id)+1)
		}
	}
	return highest
}

func noCategory(field, id string) error {
	f := fault.New(fault.Unprocessable, "category_not_found", "There is no category %s.", id)
	f.Field = field
	return f
}
