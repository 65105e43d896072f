package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// AllowedFile, next to migrations, has a line "what: reason" for each finding that does
// the release before no harm after all.
const AllowedFile = "allowed.txt"

// Allowed are the findings of a folder of migrations that have a reason.
type Allowed struct {
	file    string
	reasons map[string]string
	used    map[string]bool
}

// ReadAllowed reads the file of a folder; there need not be one.
func ReadAllowed(dir string) (*Allowed, error) {
	a := &Allowed{file: filepath.Join(dir, AllowedFile), reasons: map[string]string{}, used: map[string]bool{}}
	text, err := os.ReadFile(a.file)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		what, reason, _ := strings.Cut(l, ": ")
		if strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: %q has no reason; want \"what: reason\"", a.file, l)
		}
		a.reasons[what] = reason
	}
	return a, nil
}

// Allows reports whether a finding has a reason.
func (a *Allowed) Allows(f Finding) bool {
	_, ok := a.reasons[f.What]
	a.used[f.What] = a.used[f.What] || ok
	return ok
}

// Unused returns the lines that no finding needed: the release before is a later one by
// now, or there is a mistake in the line.
func (a *Allowed) Unused() (list []string) {
	for what := range a.reasons {
		if !a.used[what] {
			list = append(list, fmt.Sprintf("%s: nothing was found that is %q; delete the line", a.file, what))
		}
	}
	return list
}
