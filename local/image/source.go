package image

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// source is what the images are made of. All of it follows from the commit, nothing from the
// moment or the machine.
type source struct {
	version, revision string
	time              time.Time // of the commit
}

// sourceOf asks git. Changes that are not committed have no revision of their own; the
// version says so.
func sourceOf(ctx context.Context, root string) (s source, err error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return "", fmt.Errorf("ask git which commit this is (git %s): %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if s.revision, err = git("rev-parse", "HEAD"); err != nil {
		return s, err
	}
	if s.version, err = git("describe", "--tags", "--always", "--dirty", "--abbrev=12"); err != nil {
		return s, err
	}
	at, err := git("log", "-1", "--format=%cI")
	if err != nil {
		return s, err
	}
	if s.time, err = time.Parse(time.RFC3339, at); err != nil {
		return s, fmt.Errorf("read the time of the commit: %w", err)
	}
	s.time = s.time.UTC()
	return s, nil
}

// labels are those that OCI names.
func (s source) labels(m Image) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       m.Name,
		"org.opencontainers.image.description": "The service " + m.Service + " of Quadrille",
		"org.opencontainers.image.version":     s.version,
		"org.opencontainers.image.revision":    s.revision,
		"org.opencontainers.image.created":     s.time.Format(time.RFC3339),
	}
}
