package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quadrille.internal/local/release"
)

// A plain go build leaves its program beside the source, and `git add` takes it along:
// the history then has it for good.
func TestNoProgramIsCommitted(t *testing.T) {
	const most = 1 << 20
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("this is a copy of the files, of which none is committed")
	}
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if f, err := os.Lstat(filepath.Join(root, name)); err == nil && f.Size() > most {
			t.Errorf("%s has %d bytes, want %d at most: is it a program? Take it out, and name it in .gitignore", name, f.Size(), most)
		}
	}
}
