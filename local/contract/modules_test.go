package contract

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"quadrille.internal/local/release"
)

const ours = "quadrille.internal/"

// modules returns the modules of the repository by their folder.
func modules(t *testing.T) map[string]*modfile.File {
	t.Helper()
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		t.Fatal(err)
	}
	work, err := modfile.ParseWork("go.work", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*modfile.File)
	for _, use := range work.Use {
		text, err := os.ReadFile(filepath.Join(root, use.Path, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		file, err := modfile.Parse(use.Path, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.ToSlash(filepath.Clean(use.Path))] = file
	}
	if len(found) < 10 {
		t.Fatalf("go.work uses only %d modules", len(found))
	}
	return found
}

// A module builds with nothing but what it requires: quad build leaves go.work out. So
// a service cannot import another, nor events the kit.
func TestModulesRequireNoMoreThanTheyMay(t *testing.T) {
	service := []string{"events", "events/proto", "platform"}
	may := map[string][]string{"events": {}, "events/proto": {}, "platform": {"events"}}
	for folder, file := range modules(t) {
		allowed, known := may[folder]
		if top, _, within := strings.Cut(folder, "/"); within && (top == "services" || top == "workflows") {
			allowed, known = service, true
		}
		if !known {
			continue // local, and the list of services, may use anything
		}
		for _, r := range file.Require {
			if name, our := strings.CutPrefix(r.Mod.Path, ours); our && !slices.Contains(allowed, name) {
				t.Errorf("%s requires %s; it may require %v of ours", folder, name, allowed)
			}
		}
	}
}

// Services are built by themselves and, in one process, together: so that both are the
// same code, a dependency has one version. `go work sync` sets it.
func TestModulesAgreeOnVersions(t *testing.T) {
	type use struct{ version, folder string }
	first := make(map[string]use)
	for folder, file := range modules(t) {
		if file.Module.Mod.Path != ours+folder {
			t.Errorf("the module in %s is called %s", folder, file.Module.Mod.Path)
		}
		for _, r := range file.Require {
			if strings.HasPrefix(r.Mod.Path, ours) {
				continue
			}
			if was, seen := first[r.Mod.Path]; !seen {
				first[r.Mod.Path] = use{r.Mod.Version, folder}
			} else if was.version != r.Mod.Version {
				t.Errorf("%s is %s in %s and %s in %s: run go work sync", r.Mod.Path, was.version, was.folder, r.Mod.Version, folder)
			}
		}
	}
}
