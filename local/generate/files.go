package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"quadrille.internal/platform/service"
)

// A block is a part of a file that is made.
type block struct {
	file, name string
	text       string
}

const asyncAPI = "docs/asyncapi.yaml"

// blocks are all that is made.
func (c *catalog) blocks(d *document) []block {
	every := func(service.Spec) bool { return true }
	workflows := func(s service.Spec) bool { return s.Workflows != nil }
	blocks := []block{
		{"local/dapr.yaml", "apps", c.apps()},
		{asyncAPI, "channels", c.channels(d)},
		{asyncAPI, "operations", c.operations(d)},
		{asyncAPI, "messages", c.messages(d)},
		{"docs/events.md", "events", c.eventTable(d)},
		{"docs/operating.md", "ports", c.ports()},
		{"docs/operating.md", "settings", c.settings()},
		{"docs/operating.md", "metrics", c.metrics()},
		{"deploy/README.md", "connections", c.connections().table()},
		{"services/gateway/route.go", "routes", c.routes()},
		{"quad/books/books.go", "imports", c.bookImports()},
		{"quad/books/books.go", "services", c.books()},
		{"quad/components/subscription.go", "subscription", subscription()},
	}
	for _, folder := range []string{"components/local/", "components/kafka/"} {
		blocks = append(blocks,
			block{folder + "pubsub.yaml", "topics", c.topics()},
			block{folder + "pubsub.yaml", "scopes", c.scopes(every)},
			block{folder + "secrets.yaml", "scopes", c.scopes(every)},
			block{folder + "config.yaml", "policies", c.policies()},
			block{folder + "statestore.yaml", "scopes", c.scopes(workflows)},
			block{folder + "workflows.yaml", "scopes", c.scopes(workflows)})
	}
	return blocks
}

// A file has what is in the repository, and what must be there: nothing where it is to go.
type file struct {
	path, have, want string
}

// generate returns the files of the repository in root that services make. They are
// complete also where an error says that prose is missing.
func generate(root string, specs []service.Spec) ([]file, error) {
	c, err := newCatalog(specs)
	if err != nil {
		return nil, err
	}
	if err := c.findPackages(root); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, asyncAPI))
	if err != nil {
		return nil, err
	}
	d, err := readDocument(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", asyncAPI, err)
	}
	var files []file
	for _, b := range c.blocks(d) {
		i := slices.IndexFunc(files, func(f file) bool { return f.path == b.file })
		if i < 0 {
			text, err := os.ReadFile(filepath.Join(root, b.file))
			if err != nil {
				return nil, err
			}
			i, files = len(files), append(files, file{b.file, string(text), string(text)})
		}
		if files[i].want, err = fill(files[i].want, b.name, b.text); err != nil {
			return nil, fmt.Errorf("%s: %w", b.file, err)
		}
	}
	manifests, err := c.deploy(root, files)
	if err != nil {
		return nil, err
	}
	files = append(files, manifests...)
	if err := d.missing(c.types()); err != nil {
		return files, fmt.Errorf("%s:\n%w", asyncAPI, err)
	}
	return files, nil
}

// check names the files that are not what generate makes of them.
func check(files []file) error {
	var faults []error
	for _, f := range files {
		if f.have != f.want {
			faults = append(faults, fmt.Errorf("%s is not what the services declare: run quad generate, and look at the difference", f.path))
		}
	}
	return errors.Join(faults...)
}

// write writes the files that change, and calls wrote for each.
func write(root string, files []file, wrote func(path string)) error {
	for _, f := range files {
		if f.have == f.want {
			continue
		}
		if err := f.write(filepath.Join(root, f.path)); err != nil {
			return err
		}
		wrote(f.path)
	}
	return nil
}

func (f file) write(to string) error {
	if f.want == "" {
		return os.Remove(to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(f.want), 0o644)
}
