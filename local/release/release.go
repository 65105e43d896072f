// Package release finds the previous release: its commit, its source, its programs. Tests
// hold today's code against it, as both releases run side by side during an upgrade
// (docs/releases.md).
package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// File lists the releases, the newest last, relative to the repository.
const File = "docs/releases.txt"

// A Release is a line of File.
type Release struct {
	Name   string
	Commit string // the full hash
	Date   string
	root   string // of the repository
}

var line = regexp.MustCompile(`^(\S+) ([0-9a-f]{40}) (\d{4}-\d{2}-\d{2})$`)

// Previous returns the newest recorded release of the repository in root.
func Previous(root string) (Release, error) {
	text, err := os.ReadFile(filepath.Join(root, File))
	if err != nil {
		return Release{}, fmt.Errorf("read the list of releases: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var r Release
	for i, l := range lines {
		words := line.FindStringSubmatch(l)
		if words == nil {
			return Release{}, fmt.Errorf("%s, line %d: %q is not a name, a full commit hash and a date", File, i+1, l)
		}
		r = Release{Name: words[1], Commit: words[2], Date: words[3], root: root}
	}
	return r, nil
}

// Root returns the repository that the working folder is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.work")); missing == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.work here or above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Source returns a folder with the release's files. It and the programs stay in
// .local/releases for the next run, as a commit does not change.
func (r Release) Source(ctx context.Context) (string, error) {
	return r.once(ctx, "source", r.extract)
}

// Programs returns a folder with the program of each service of the release.
func (r Release) Programs(ctx context.Context) (string, error) {
	source, err := r.Source(ctx)
	if err != nil {
		return "", err
	}
	return r.once(ctx, "bin", func(ctx context.Context, dir string) error { return build(ctx, source, dir) })
}

// once returns a folder of the release, which it has made whole by fill if it is not
// there. Tests of several modules run at the same time: one fills it, the others wait.
func (r Release) once(ctx context.Context, name string, fill func(ctx context.Context, dir string) error) (string, error) {
	home := filepath.Join(r.root, ".local", "releases", r.Commit)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(home, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	dir := filepath.Join(home, name)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	unfinished := dir + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := fill(ctx, unfinished); err != nil {
		return "", fmt.Errorf("release %s: %w", r.Name, err)
	}
	return dir, os.Rename(unfinished, dir)
}

// extract writes the files of the release's commit to dir.
func (r Release) extract(ctx context.Context, dir string) error {
	index := dir + ".index" // one of its own, as the repository's is the developer's
	defer os.Remove(index)  //nolint:errcheck // git may not have made it
	git := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = r.root
		cmd.Env = append(os.Environ(), "GIT_INDEX_FILE="+index)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	if err := git("cat-file", "-e", r.Commit+"^{commit}"); err != nil {
		return fmt.Errorf("its commit %s is not in this clone; fetch it: git fetch --unshallow, or git fetch origin %s (%w)", r.Commit, r.Commit, err)
	}
	if err := git("read-tree", r.Commit); err != nil {
		return err
	}
	return git("checkout-index", "--all", "--prefix="+dir+"/")
}

// build builds each service below source as a release is built: without go.work.
func build(ctx context.Context, source, dir string) error {
	var mains []string
	for _, pattern := range []string{"services/*/cmd/*/main.go", "workflows/*/cmd/*/main.go"} {
		found, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil {
			return err
		}
		mains = append(mains, found...)
	}
	for _, main := range mains {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/", ".")
		cmd.Dir = filepath.Dir(main)
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build in %s: %w\n%s", cmd.Dir, err, out)
		}
	}
	return nil
}
