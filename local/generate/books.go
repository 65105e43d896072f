package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// serviceList is the file that names the services' packages.
const serviceList = "services/services.go"

// findPackages reads where the package of each service is, which is called as the service.
func (c *catalog) findPackages(root string) error {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, serviceList), nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	found := make(map[string]string)
	for _, imported := range file.Imports {
		at, err := strconv.Unquote(imported.Path.Value)
		if err != nil {
			return err
		}
		found[path.Base(at)] = at
	}
	var faults []error
	for _, s := range c.specs {
		if found[s.Name] == "" {
			faults = append(faults, fmt.Errorf("%s imports no package called %s, as its service is", serviceList, s.Name))
		}
	}
	c.packages = found
	return errors.Join(faults...)
}

// bookImports imports what each service lets auditors read: its package audit.
func (c *catalog) bookImports() string {
	names := make(map[string]string)
	var paths []string
	for _, s := range c.specs {
		if !s.HasDatabase() {
			continue
		}
		at := c.packages[s.Name] + "/audit"
		names[at], paths = s.Name, append(paths, at)
	}
	slices.Sort(paths)
	var b strings.Builder
	for _, at := range paths {
		fmt.Fprintf(&b, "%s %q\n", names[at], at)
	}
	return b.String()
}

// books lists it by service.
func (c *catalog) books() string {
	var b strings.Builder
	for _, s := range c.specs {
		if s.HasDatabase() {
			fmt.Fprintf(&b, "{%[1]q, %[1]s.Books},\n", s.Name)
		}
	}
	return b.String()
}
