package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPreviousIsTheLastLine(t *testing.T) {
	first, second := strings.Repeat("a", 40), strings.Repeat("b", 40)
	for _, c := range []struct{ text, want string }{
		{"v1 " + first + " 2026-11-21\nv2 " + second + " 2026-12-01\n", second},
		{"v1 " + first[:7] + " 2026-11-21\n", "line 1"},
		{"", "line 1"},
	} {
		root := t.TempDir()
		file := filepath.Join(root, File)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Previous(root)
		if r.Commit != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %+v, %v, want %s", c.text, r, err, c.want)
		}
	}
}

// A clone without the release's commit, as shallow ones are, fails and says what to do.
func TestACommitThatIsNotThereIsToBeFetched(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Previous(root)
	if err != nil {
		t.Fatal(err)
	}
	r.Commit = strings.Repeat("0", 39) + "1"
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(r.root, ".local", "releases", r.Commit)) })
	if _, err := r.Programs(t.Context()); err == nil || !strings.Contains(err.Error(), "git fetch") {
		t.Errorf("Programs: %v", err)
	}
}
