// Package schema brings a service's database up to date, and checks that it is.
// Migrate runs as the role that owns the database: first the kit's migrations, then
// the service's, then the privileges of the role that the service runs as. Await is
// for the service, which changes nothing.
package schema

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var kit embed.FS

// A part of the schema has migrations of its own, numbered from 1.
type part struct {
	name     string // as in schema_floor
	table    string // of the migrations that were applied
	files    fs.FS
	versions []int64 // that the code holds, ascending
}

// parts returns the kit's part and the service's, whose migrations are in the folder
// "migrations" of own.
func parts(own fs.FS) ([]part, error) {
	all := []part{{name: "kit", table: "kit_migrations"}, {name: "service", table: "service_migrations"}}
	for i, files := range []fs.FS{kit, own} {
		p := &all[i]
		var err error
		if p.files, err = fs.Sub(files, "migrations"); err != nil {
			return nil, fmt.Errorf("read %s migrations: %w", p.name, err)
		}
		names, err := fs.Glob(p.files, "*.sql")
		if err != nil {
			return nil, fmt.Errorf("read %s migrations: %w", p.name, err)
		}
		for _, name := range names {
			version, err := goose.NumericComponent(name)
			if err != nil {
				return nil, fmt.Errorf("%s migration %s: %w", p.name, name, err)
			}
			p.versions = append(p.versions, version)
		}
		slices.Sort(p.versions)
	}
	return all, nil
}

// version is the highest migration that the code holds, which is how code and schema
// are compared.
func (p part) version() int64 {
	if len(p.versions) == 0 {
		return 0
	}
	return p.versions[len(p.versions)-1]
}

// file returns name and text of one migration.
func (p part) file(version int64) (name, text string, err error) {
	names, err := fs.Glob(p.files, "*.sql")
	if err != nil {
		return "", "", err
	}
	for _, name := range names {
		if v, err := goose.NumericComponent(name); err == nil && v == version {
			b, err := fs.ReadFile(p.files, name)
			return name, string(b), err
		}
	}
	return "", "", fmt.Errorf("no %s migration has the number %d", p.name, version)
}

var (
	comment    = regexp.MustCompile(`(?m)--.*$`)
	concurrent = regexp.MustCompile(`(?i)^(create\s+(unique\s+)?index|drop\s+index|reindex\s+\w+)\s+concurrently\b`)
)

// onlyConcurrent reports whether a migration does nothing that makes others wait.
func onlyConcurrent(text string) bool {
	up, _, _ := strings.Cut(text, "-- +goose Down")
	for statement := range strings.SplitSeq(comment.ReplaceAllString(up, ""), ";") {
		if s := strings.TrimSpace(statement); s != "" && !concurrent.MatchString(s) {
			return false
		}
	}
	return withoutTransaction(text)
}

// withoutTransaction reports whether a migration runs outside a transaction, as
// "create index concurrently" must.
func withoutTransaction(text string) bool { return strings.Contains(text, "+goose NO TRANSACTION") }
